-- What people let be at targets while a promotion waited: which version, and beside which of the source's (encoded).
CREATE TABLE sync_words (
    project TEXT NOT NULL,
    sync TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, sync)
);
