-- Who does a periodic job, and until when nobody else does.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    -- The process, by a name that it gave itself.
    holder TEXT NOT NULL,
    until  INTEGER NOT NULL
);
