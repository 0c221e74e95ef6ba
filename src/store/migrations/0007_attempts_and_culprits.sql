-- The place of a check in the configuration; how one failed before it was asked once more (JSON).
ALTER TABLE checks ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
ALTER TABLE checks ADD COLUMN earlier TEXT;
ALTER TABLE outcomes ADD COLUMN earlier TEXT;

-- What is to blame for the failed check of a promotion.
CREATE TABLE culprits (
    promotion TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    verdict TEXT NOT NULL,
    first_bad TEXT,
    healthy TEXT,
    saves BIGINT NOT NULL,
    suspects BIGINT NOT NULL,
    runs BIGINT NOT NULL,
    at_ms BIGINT NOT NULL
);
