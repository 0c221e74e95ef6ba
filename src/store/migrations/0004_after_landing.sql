-- Until when what was promoted is verified again and again, and the promotion whose rollback another one undoes.
ALTER TABLE promotions ADD COLUMN watching_until_ms BIGINT;
ALTER TABLE promotions ADD COLUMN undoes TEXT;
CREATE INDEX promotions_watched ON promotions (project, watching_until_ms) WHERE watching_until_ms IS NOT NULL;
