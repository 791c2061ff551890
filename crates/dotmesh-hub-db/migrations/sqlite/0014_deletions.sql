-- The number of the last deletion of this file, counted over all files; 0 when it was never deleted. Who stores a pack knows by
-- it whether that was before or after.
ALTER TABLE doomed_packs ADD COLUMN deletion BIGINT NOT NULL DEFAULT 0;
CREATE INDEX doomed_packs_deletion ON doomed_packs (deletion);
