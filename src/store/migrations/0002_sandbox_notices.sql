-- Why the watcher only looks periodically, where it does; and paths whose staged content the user has not committed.
ALTER TABLE sandboxes ADD COLUMN limited TEXT;
ALTER TABLE sandboxes ADD COLUMN staged TEXT NOT NULL DEFAULT '[]';
