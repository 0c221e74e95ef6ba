-- Records in tables of our own: what each is now, and every revision of it with its content (none: it was deleted).
CREATE TABLE records (
    project TEXT NOT NULL,
    tab TEXT NOT NULL,
    record BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    size BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (project, tab, record)
);

CREATE TABLE record_revisions (
    project TEXT NOT NULL,
    tab TEXT NOT NULL,
    record BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    body BYTEA,
    PRIMARY KEY (project, tab, record, revision)
);
