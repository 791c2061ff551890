-- Where the hub tells of what happens to a dot.
CREATE TABLE webhooks (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    dot           INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    url           TEXT NOT NULL,
    -- What deliveries are signed with, in clear.
    secret        BLOB NOT NULL,
    -- Names, with blanks between them.
    topics        TEXT NOT NULL,
    -- The hub's address as who made it knew it: what links begin with where the hub is told no other.
    hub_url       TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('on', 'off', 'failed')),
    created_by    TEXT NOT NULL,
    created       INTEGER NOT NULL,
    -- The first failed attempt after which none succeeded.
    failing_since INTEGER
);
CREATE INDEX webhooks_dot ON webhooks (dot);

-- What webhooks are to be told: written in the transaction of the event, so nothing is lost and nothing told that did
-- not happen.
CREATE TABLE deliveries (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook   INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event     INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- By which the receiver knows it again.
    message   TEXT NOT NULL,
    created   INTEGER NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    -- Attempts that have begun.
    attempts  INTEGER NOT NULL DEFAULT 0,
    -- When the next attempt may begin; while one is under way, when it is taken to be lost.
    due       INTEGER NOT NULL,
    -- The attempt that is under way.
    claim     TEXT,
    -- How the last attempt ended.
    attempted INTEGER,
    took      INTEGER,
    status    INTEGER,
    error     TEXT,
    response  TEXT
);
CREATE INDEX deliveries_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_event ON deliveries (event);
CREATE INDEX deliveries_due ON deliveries (due) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (webhook, id) WHERE state = 'pending';
