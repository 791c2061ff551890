-- Accounts, dots with their history, and where every object lies. The comments on tables and columns are in the
-- migration of the same number for SQLite; here is only what differs.
--
-- Names are compared and sorted by their bytes, whatever the locale of the database.

CREATE TABLE users (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name     TEXT COLLATE "C" NOT NULL UNIQUE,
    password TEXT,
    created  BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_folded ON users (lower(name));

CREATE TABLE api_keys (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "user"  BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest  BYTEA NOT NULL UNIQUE,
    created BIGINT NOT NULL
);
CREATE INDEX api_keys_user ON api_keys ("user");

CREATE TABLE dots (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner   BIGINT NOT NULL REFERENCES users (id),
    name    TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE collaborators (
    dot    BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    "user" BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    access TEXT NOT NULL CHECK (access IN ('read', 'write')),
    PRIMARY KEY (dot, "user")
);
CREATE INDEX collaborators_user ON collaborators ("user");

CREATE TABLE branches (
    dot  BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    head BYTEA NOT NULL,
    PRIMARY KEY (dot, name)
);

CREATE TABLE commits (
    dot    BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    id     BYTEA NOT NULL,
    parent BYTEA NOT NULL,
    seal   BYTEA NOT NULL,
    root   BYTEA NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (dot, id)
);

CREATE TABLE packs (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner   BIGINT NOT NULL REFERENCES users (id),
    name    BYTEA NOT NULL,
    objects BIGINT NOT NULL
);
CREATE INDEX packs_owner ON packs (owner);

CREATE TABLE objects (
    id    BIGINT PRIMARY KEY,
    owner BIGINT NOT NULL,
    hash  BYTEA NOT NULL,
    frame BYTEA NOT NULL,
    UNIQUE (owner, hash)
);

CREATE TABLE dot_packs (
    dot  BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    pack BIGINT NOT NULL REFERENCES packs (id),
    PRIMARY KEY (dot, pack)
);
CREATE INDEX dot_packs_pack ON dot_packs (pack);

CREATE TABLE dot_objects (
    dot    BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    object BIGINT NOT NULL REFERENCES objects (id),
    PRIMARY KEY (dot, object)
);
CREATE INDEX dot_objects_object ON dot_objects (object);

CREATE TABLE uploads (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token    TEXT NOT NULL UNIQUE,
    "user"   BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    owner    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    dot      TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL,
    finished BYTEA
);
CREATE INDEX uploads_open ON uploads ("user", owner) WHERE finished IS NULL;
CREATE INDEX uploads_owner ON uploads (owner);

CREATE TABLE upload_packs (
    upload BIGINT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    pack   BIGINT NOT NULL REFERENCES packs (id) ON DELETE CASCADE,
    PRIMARY KEY (upload, pack)
);
CREATE INDEX upload_packs_pack ON upload_packs (pack);

CREATE TABLE upload_objects (
    upload BIGINT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    object BIGINT NOT NULL,
    PRIMARY KEY (upload, object)
);

CREATE TABLE numbers (n INTEGER PRIMARY KEY);
INSERT INTO numbers SELECT generate_series(0, 8191);

-- What SQLite calls so and PostgreSQL has not: rows of a list of numbers that comes as one parameter, '[1,2,3]'.
CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value BIGINT)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 100
    AS $$ SELECT unnest(translate(list, '[]', '{}')::BIGINT[]) $$;
