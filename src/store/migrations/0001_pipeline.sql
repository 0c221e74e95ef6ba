CREATE TABLE projects (
    project TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    root TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE promotions (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    state TEXT NOT NULL,
    step TEXT,
    source TEXT NOT NULL,
    previous TEXT,
    candidate TEXT,
    tree TEXT,
    merge_allowed INTEGER NOT NULL,
    remote TEXT,
    pushed INTEGER NOT NULL,
    rollback_to TEXT,
    rollback_from TEXT,
    rollback_commit TEXT,
    requested_by TEXT NOT NULL,
    purpose TEXT,
    reason TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    finished_ms BIGINT
);
CREATE INDEX promotions_by_environment ON promotions (project, environment, created_ms);
CREATE INDEX promotions_by_time ON promotions (project, created_ms);
CREATE INDEX promotions_unfinished ON promotions (project, finished_ms);

CREATE TABLE journal (
    promotion TEXT NOT NULL,
    position BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    detail TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (promotion, position)
);

CREATE TABLE approvals (
    promotion TEXT NOT NULL,
    person TEXT NOT NULL,
    candidate TEXT NOT NULL,
    consent INTEGER NOT NULL,
    reason TEXT,
    at_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (promotion, person)
);

CREATE TABLE checks (
    promotion TEXT NOT NULL,
    phase TEXT NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    log TEXT,
    cached INTEGER NOT NULL,
    took_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (promotion, phase, name)
);

CREATE TABLE outcomes (
    project TEXT NOT NULL,
    definition TEXT NOT NULL,
    tree TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    log TEXT,
    took_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, definition, tree)
);

CREATE TABLE holds (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    person TEXT NOT NULL,
    promotion TEXT,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, environment)
);

CREATE TABLE quarantine (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    source TEXT NOT NULL,
    tree TEXT NOT NULL,
    promotion TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, environment, source)
);

CREATE TABLE sandboxes (
    project TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT,
    branch TEXT NOT NULL,
    head TEXT,
    pending BIGINT NOT NULL,
    unpushed BIGINT NOT NULL,
    push_problem TEXT,
    set_aside TEXT NOT NULL,
    saved_ms BIGINT,
    seen_ms BIGINT NOT NULL
);

CREATE TABLE health (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
