-- When a pack came, in seconds since 1970. 0: before this was noted, or of a repack.
ALTER TABLE packs ADD COLUMN added BIGINT NOT NULL DEFAULT 0;
-- 0: as it came. 1: of a repack. 2: some of its bytes are damaged, and the rest is to be stored anew.
ALTER TABLE packs ADD COLUMN form INTEGER NOT NULL DEFAULT 0;

-- On which packs the groups of a pack build. A base keeps its file as long as a pack on it has one.
CREATE TABLE pack_bases (
    name BLOB NOT NULL,
    base BLOB NOT NULL,
    PRIMARY KEY (name, base)
) WITHOUT ROWID;
CREATE INDEX pack_bases_base ON pack_bases (base);

-- What repacks did, for administrators.
CREATE TABLE repacks (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    packs    INTEGER NOT NULL,
    objects  INTEGER NOT NULL,
    -- Objects that nothing needed any more.
    left_out INTEGER NOT NULL,
    -- Bytes of packs.
    before   INTEGER NOT NULL,
    after    INTEGER NOT NULL
);
