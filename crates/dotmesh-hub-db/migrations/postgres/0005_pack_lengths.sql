-- What a pack takes in the store, in bytes. Of packs that were taken before, it is not known: 0.
ALTER TABLE packs ADD COLUMN length BIGINT NOT NULL DEFAULT 0;
