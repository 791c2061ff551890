-- What is in the databases of a commit: JSON, compressed with zstd, as a client sent it and the hub verified it.
CREATE TABLE commit_databases (
    dot       INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    commit_id BLOB NOT NULL,
    summary   BLOB NOT NULL,
    PRIMARY KEY (dot, commit_id)
);
-- The names of the tables in the summary that came last, one a line, for the search.
CREATE TABLE dot_tables (
    dot       INTEGER PRIMARY KEY REFERENCES dots (id) ON DELETE CASCADE,
    commit_id BLOB NOT NULL,
    names     TEXT NOT NULL
);
