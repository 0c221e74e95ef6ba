-- What else a watcher has to say, as JSON: each note has its default, so that older rows need none.
ALTER TABLE sandboxes ADD COLUMN notes TEXT NOT NULL DEFAULT '{}';
