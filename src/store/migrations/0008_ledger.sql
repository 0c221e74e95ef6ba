-- The newest entry of the ledger of promotions that was taken over.
CREATE TABLE ledgers (
    project TEXT NOT NULL PRIMARY KEY,
    tip TEXT NOT NULL
);
