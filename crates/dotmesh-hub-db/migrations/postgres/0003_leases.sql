-- Who does a periodic job, and until when nobody else does.
CREATE TABLE leases (
    name   TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT NOT NULL,
    until  BIGINT NOT NULL
);
