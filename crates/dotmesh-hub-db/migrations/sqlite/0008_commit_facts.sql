-- What was counted of commits, so that large trees are read once: JSON, a cache. Deleting rows loses nothing.
CREATE TABLE commit_facts (
    dot       INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    commit_id BLOB NOT NULL,
    facts     TEXT NOT NULL,
    PRIMARY KEY (dot, commit_id)
);
