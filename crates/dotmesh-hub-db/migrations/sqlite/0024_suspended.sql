-- Since when a user is suspended: neither logins nor keys nor webhooks work.
ALTER TABLE users ADD COLUMN suspended INTEGER;
-- The only dot that a key works for; it goes with the dot.
ALTER TABLE api_keys ADD COLUMN dot INTEGER REFERENCES dots (id) ON DELETE CASCADE;
CREATE INDEX api_keys_dot ON api_keys (dot);
