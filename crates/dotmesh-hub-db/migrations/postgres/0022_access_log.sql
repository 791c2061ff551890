-- The comments are in the migration of the same number for SQLite.
CREATE TABLE access_log (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day     BIGINT NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    actor   TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    began   BIGINT NOT NULL,
    last    BIGINT NOT NULL,
    count   BIGINT NOT NULL,
    UNIQUE (day, kind, actor, address, subject)
);
CREATE INDEX access_log_actor ON access_log (actor, id);
