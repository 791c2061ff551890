-- Accounts, dots with their history, and where every object lies.
--
-- Times are seconds since 1970. Ids that outlive their row in someone's hands (a user's, a dot's,
-- an object's) are never given out twice: AUTOINCREMENT.

CREATE TABLE users (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL UNIQUE,
    -- argon2id as a PHC string; NULL: no login by password.
    password TEXT,
    created  INTEGER NOT NULL
);
-- Names that differ in case only would be taken for one another.
CREATE UNIQUE INDEX users_folded ON users (lower(name));

CREATE TABLE api_keys (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    user    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the key. A key is 256 random bits: nothing slower is needed.
    digest  BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL
);
CREATE INDEX api_keys_user ON api_keys (user);

CREATE TABLE dots (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The user whose name is the namespace.
    owner   INTEGER NOT NULL REFERENCES users (id),
    name    TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE collaborators (
    dot    INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    user   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    access TEXT NOT NULL CHECK (access IN ('read', 'write')),
    PRIMARY KEY (dot, user)
) WITHOUT ROWID;
CREATE INDEX collaborators_user ON collaborators (user);

CREATE TABLE branches (
    dot  INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    head BLOB NOT NULL,
    PRIMARY KEY (dot, name)
) WITHOUT ROWID;

CREATE TABLE commits (
    dot    INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    id     BLOB NOT NULL,
    parent BLOB NOT NULL,
    seal   BLOB NOT NULL,
    root   BLOB NOT NULL,
    -- The JSON text as it was first written: the seal covers its bytes.
    record TEXT NOT NULL,
    PRIMARY KEY (dot, id)
);

-- One row for each time that a pack was taken: never given more objects later.
CREATE TABLE packs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    owner   INTEGER NOT NULL REFERENCES users (id),
    -- The hash of its bytes: its name in the pack store. Several rows may share it.
    name    BLOB NOT NULL,
    -- How many objects it has. Those that were stored before it came are not counted.
    objects INTEGER NOT NULL
);
CREATE INDEX packs_owner ON packs (owner);

-- Every object once per namespace, however many dots have it. There are very many: one index, no foreign
-- keys, and what is said of all objects of a pack is said of the pack.
CREATE TABLE objects (
    -- The pack's id times 2^20, and the object's number in it.
    id    INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    -- Kind (one byte), position and length of its frame, and its length in clear (four bytes each).
    frame BLOB NOT NULL,
    UNIQUE (owner, hash)
);

-- Which objects a dot has: all of some packs, and single ones of others. Closed under references: with an
-- object, a dot has all it refers to.
CREATE TABLE dot_packs (
    dot  INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    pack INTEGER NOT NULL REFERENCES packs (id),
    PRIMARY KEY (dot, pack)
) WITHOUT ROWID;
CREATE INDEX dot_packs_pack ON dot_packs (pack);

CREATE TABLE dot_objects (
    dot    INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    object INTEGER NOT NULL REFERENCES objects (id),
    PRIMARY KEY (dot, object)
) WITHOUT ROWID;
CREATE INDEX dot_objects_object ON dot_objects (object);

CREATE TABLE uploads (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What the client names it by.
    token    TEXT NOT NULL UNIQUE,
    user     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    owner    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The dot's name, not its id: the push may be what creates it.
    dot      TEXT NOT NULL,
    created  INTEGER NOT NULL,
    -- SHA-256 of the request that finished it: the same request again gets the same answer.
    finished BLOB
);
-- Finished ones stay for a while, and nothing looks for them by user.
CREATE INDEX uploads_open ON uploads (user, owner) WHERE finished IS NULL;
CREATE INDEX uploads_owner ON uploads (owner);

-- What an upload has proven to have, or was told that the hub has: what it may refer to. All of some packs,
-- and single objects of others.
CREATE TABLE upload_packs (
    upload INTEGER NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    pack   INTEGER NOT NULL REFERENCES packs (id) ON DELETE CASCADE,
    PRIMARY KEY (upload, pack)
) WITHOUT ROWID;
CREATE INDEX upload_packs_pack ON upload_packs (pack);

-- No foreign key on the object: rows are many and short-lived.
CREATE TABLE upload_objects (
    upload INTEGER NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    object INTEGER NOT NULL,
    PRIMARY KEY (upload, object)
) WITHOUT ROWID;

-- The numbers from 0 to 8191, which turn a list in one parameter into rows.
CREATE TABLE numbers (n INTEGER PRIMARY KEY);
WITH RECURSIVE count (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM count WHERE n < 8191)
INSERT INTO numbers SELECT n FROM count;
