-- What syncs that run by themselves remember: since when their time counts, when they last ran or failed and why, and (as
-- JSON) which deployments they have run for, by environment.
CREATE TABLE sync_memories (
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    since_ms BIGINT,
    ran_ms BIGINT,
    failed_ms BIGINT,
    problem TEXT,
    seen TEXT NOT NULL,
    PRIMARY KEY (project, sync)
);
