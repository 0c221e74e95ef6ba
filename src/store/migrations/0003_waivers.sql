-- Gates that somebody waived for one promotion, each with a reason.
CREATE TABLE waivers (
    promotion TEXT NOT NULL,
    gate TEXT NOT NULL,
    person TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (promotion, gate)
);
