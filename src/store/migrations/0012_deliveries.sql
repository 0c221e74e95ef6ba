-- How each delivery of a promotion went, and which runs of syncs were made for a promotion: exactly these are taken back
-- with it.
CREATE TABLE deliveries (
    promotion TEXT NOT NULL,
    phase TEXT NOT NULL,
    sync TEXT NOT NULL,
    position BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    flagged BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (promotion, phase, sync)
);

ALTER TABLE sync_runs ADD COLUMN promotion TEXT;
CREATE INDEX sync_runs_by_promotion ON sync_runs (project, promotion) WHERE promotion IS NOT NULL;
