-- When a pack came, in seconds since 1970. 0: before this was noted, or of a repack.
ALTER TABLE packs ADD COLUMN added BIGINT NOT NULL DEFAULT 0;
-- 0: as it came. 1: of a repack. 2: some of its bytes are damaged, and the rest is to be stored anew.
ALTER TABLE packs ADD COLUMN form BIGINT NOT NULL DEFAULT 0;

CREATE TABLE pack_bases (
    name BYTEA NOT NULL,
    base BYTEA NOT NULL,
    PRIMARY KEY (name, base)
);
CREATE INDEX pack_bases_base ON pack_bases (base);

CREATE TABLE repacks (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time     BIGINT NOT NULL,
    packs    BIGINT NOT NULL,
    objects  BIGINT NOT NULL,
    left_out BIGINT NOT NULL,
    before   BIGINT NOT NULL,
    after    BIGINT NOT NULL
);
