-- Who came in, from where, and what they took or removed. One row for each day and each of it, for some months.
CREATE TABLE access_log (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Days since 1970.
    day     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    -- As they were named then; empty for nobody that the hub knows.
    actor   TEXT NOT NULL,
    address TEXT NOT NULL,
    -- By what, or what.
    subject TEXT NOT NULL,
    -- When it was first and last written down that day, and how often.
    began   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    UNIQUE (day, kind, actor, address, subject)
);
CREATE INDEX access_log_actor ON access_log (actor, id);
