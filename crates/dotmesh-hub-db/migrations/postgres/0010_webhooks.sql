-- Where the hub tells of what happens to a dot. The comments on tables and columns are in the migration of the same
-- number for SQLite.
CREATE TABLE webhooks (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dot           BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    url           TEXT NOT NULL,
    secret        BYTEA NOT NULL,
    topics        TEXT NOT NULL,
    hub_url       TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('on', 'off', 'failed')),
    created_by    TEXT NOT NULL,
    created       BIGINT NOT NULL,
    failing_since BIGINT
);
CREATE INDEX webhooks_dot ON webhooks (dot);

CREATE TABLE deliveries (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook   BIGINT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event     BIGINT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    message   TEXT NOT NULL,
    created   BIGINT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts  BIGINT NOT NULL DEFAULT 0,
    due       BIGINT NOT NULL,
    claim     TEXT,
    attempted BIGINT,
    took      BIGINT,
    status    BIGINT,
    error     TEXT,
    response  TEXT
);
CREATE INDEX deliveries_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_event ON deliveries (event);
CREATE INDEX deliveries_due ON deliveries (due) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (webhook, id) WHERE state = 'pending';
