-- The comments are in the migration of the same number for SQLite.
CREATE TABLE commit_databases (
    dot       BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    commit_id BYTEA NOT NULL,
    summary   BYTEA NOT NULL,
    PRIMARY KEY (dot, commit_id)
);
CREATE TABLE dot_tables (
    dot       BIGINT PRIMARY KEY REFERENCES dots (id) ON DELETE CASCADE,
    commit_id BYTEA NOT NULL,
    names     TEXT NOT NULL
);
