-- Syncs: what they agreed on last, what they are about to do (both in chunks of many items), what is flagged, and what
-- each run did and replaced.
CREATE TABLE syncs (
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    endpoints TEXT NOT NULL,
    serial BIGINT NOT NULL,
    PRIMARY KEY (project, sync)
);

CREATE TABLE sync_baselines (
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    first_key BYTEA NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, sync, first_key)
);

CREATE TABLE sync_intents (
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    body BYTEA NOT NULL
);

CREATE TABLE sync_flags (
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    item BYTEA NOT NULL,
    finding TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (project, sync, item)
);

CREATE TABLE sync_runs (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    purpose TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    finished_ms BIGINT,
    report TEXT
);
CREATE INDEX sync_runs_by_start ON sync_runs (project, sync, started_ms);

CREATE TABLE sync_snapshots (
    run TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    position BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    items BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE INDEX sync_snapshots_by_position ON sync_snapshots (project, sync, position);
