-- The branch that a promotion past the environments before it comes from.
ALTER TABLE promotions ADD COLUMN hotfix TEXT;

-- What the next promotion into each environment would meet, by the latest rehearsal that found something else.
CREATE TABLE rehearsals (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    verdict TEXT NOT NULL,
    fact TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (project, environment)
);
