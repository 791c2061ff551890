-- Logins of programs that wait for their user's word in a browser. See the migration of the same number for SQLite.

CREATE TABLE device_logins (
    device  BYTEA PRIMARY KEY,
    code    BYTEA NOT NULL UNIQUE,
    client  TEXT NOT NULL,
    address TEXT NOT NULL,
    created BIGINT NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('pending', 'denied', 'approved')),
    user_id BIGINT REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX device_logins_created ON device_logins (created);
