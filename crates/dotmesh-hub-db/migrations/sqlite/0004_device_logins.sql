-- Logins of programs that wait for their user's word in a browser. They live for minutes.

CREATE TABLE device_logins (
    -- SHA-256 of what the program asks with.
    device  BLOB PRIMARY KEY,
    -- SHA-256 of what the user compares.
    code    BLOB NOT NULL UNIQUE,
    -- Where the program says that it runs.
    client  TEXT NOT NULL,
    -- Where its request came from.
    address TEXT NOT NULL,
    created INTEGER NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('pending', 'denied', 'approved')),
    -- Who approved it.
    user_id INTEGER REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX device_logins_created ON device_logins (created);
