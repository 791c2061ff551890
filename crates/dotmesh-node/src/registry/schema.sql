-- The index of a pool. Everything except `volumes`, `mounts`, `shown_at`, `switches`, `made_by` and `summaries` can be rebuilt from
-- the pool.
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

-- `height` is the number of commits from the first to this one. `seal`, `root` and `links` (whether there may be hard
-- links) are set when the commit is sealed. `hub` and `hub_dot` say where its data is, if it is not here.
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

-- The files left out of a commit, once it was searched here, or as a hub reported (`told`). `depth` is an upper bound of the
-- depth of nested directories. `links` is as above.
CREATE TABLE IF NOT EXISTS left_out (
    dot   TEXT NOT NULL,
    id    TEXT NOT NULL,
    count INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    links INTEGER NOT NULL,
    told  INTEGER NOT NULL,
    PRIMARY KEY (dot, id),
    FOREIGN KEY (dot, id) REFERENCES commits (dot, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS left_out_items (
    dot    TEXT NOT NULL,
    id     TEXT NOT NULL,
    place  INTEGER NOT NULL,
    path   BLOB NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (dot, id, place),
    FOREIGN KEY (dot, id) REFERENCES left_out (dot, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- The commits that were sealed within the limits of every pool.
CREATE TABLE IF NOT EXISTS within_limits (
    dot TEXT NOT NULL,
    id  TEXT NOT NULL,
    PRIMARY KEY (dot, id),
    FOREIGN KEY (dot, id) REFERENCES commits (dot, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- The volumes that Docker created and did not remove.
CREATE TABLE IF NOT EXISTS volumes (
    name TEXT PRIMARY KEY
) STRICT;

-- Mounts that were handed out to Docker and not taken back. `place` is also the name of the folder where it is mounted. `at` is in
-- milliseconds since 1970. `subvolume` and `inode` identify the mounted folder.
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

-- The places where users have mounted volumes.
CREATE TABLE IF NOT EXISTS shown_at (
    place  BLOB PRIMARY KEY,
    volume TEXT NOT NULL
) STRICT;

-- The journals of switches that have not started all containers again yet.
CREATE TABLE IF NOT EXISTS switches (
    dot     TEXT PRIMARY KEY,
    journal TEXT NOT NULL
) STRICT;

-- How a dot was made, for warnings: by `docker` or `clone`. `number` gives the order.
CREATE TABLE IF NOT EXISTS made_by (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    dot    TEXT NOT NULL UNIQUE REFERENCES dots (id) ON DELETE CASCADE,
    maker  TEXT NOT NULL
) STRICT;

-- The commits of pushes whose databases are still to be read for a hub. `login` has the account's secret, and is NULL once the
-- commit is given up. `due` is in seconds since 1970. `why` says why the last attempt failed.
CREATE TABLE IF NOT EXISTS summaries (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    dot     TEXT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    hub     TEXT NOT NULL,
    hub_dot TEXT NOT NULL,
    id      TEXT NOT NULL,
    login   TEXT,
    what    TEXT NOT NULL,
    tries   INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    why     TEXT,
    UNIQUE (dot, hub, hub_dot, id)
) STRICT;
