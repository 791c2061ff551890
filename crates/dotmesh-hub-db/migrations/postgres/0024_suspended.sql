-- The comments are in the migration of the same number for SQLite.
ALTER TABLE users ADD COLUMN suspended BIGINT;
ALTER TABLE api_keys ADD COLUMN dot BIGINT REFERENCES dots (id) ON DELETE CASCADE;
CREATE INDEX api_keys_dot ON api_keys (dot);
