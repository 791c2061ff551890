-- The index of a pool. Everything but `volumes`, `mounts`, `shown_at` and `switches` can be read back from the pool's folders.
CREATE TABLE IF NOT EXISTS dots (
    id        TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    current   TEXT NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

CREATE TABLE IF NOT EXISTS branches (
    dot           TEXT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    head          TEXT NOT NULL,
    origin_branch TEXT,
    origin_commit TEXT,
    PRIMARY KEY (dot, name)
) STRICT, WITHOUT ROWID;

-- `height` is the number of commits from the first to this one. `seal`, `root` and `links` (whether a file has several
-- names) are known once it was sealed. `hub` and `hub_dot` say where its data is when it is not here.
CREATE TABLE IF NOT EXISTS commits (
    dot    TEXT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    id     TEXT NOT NULL,
    parent TEXT NOT NULL,
    height INTEGER NOT NULL,
    record BLOB NOT NULL,
    seal   TEXT,
    root   TEXT,
    links  INTEGER,
    hub     TEXT,
    hub_dot TEXT,
    PRIMARY KEY (dot, id)
) STRICT;

-- The volumes that Docker created and did not remove.
CREATE TABLE IF NOT EXISTS volumes (
    name TEXT PRIMARY KEY
) STRICT;

-- What was handed out to Docker and not taken back. `place` is also the name of the folder where it is mounted; `at` is in
-- milliseconds since 1970; `subvolume` and `inode` say which folder it is.
CREATE TABLE IF NOT EXISTS mounts (
    place     INTEGER PRIMARY KEY AUTOINCREMENT,
    caller    TEXT NOT NULL,
    volume    TEXT NOT NULL,
    branch    TEXT NOT NULL,
    subvolume INTEGER NOT NULL,
    inode     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    void      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Where users have volumes mounted for themselves.
CREATE TABLE IF NOT EXISTS shown_at (
    place  BLOB PRIMARY KEY,
    volume TEXT NOT NULL
) STRICT;

-- A switch that has stopped containers and not started them again yet.
CREATE TABLE IF NOT EXISTS switches (
    dot     TEXT PRIMARY KEY,
    journal TEXT NOT NULL
) STRICT;
