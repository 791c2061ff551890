ALTER TABLE doomed_packs ADD COLUMN deletion BIGINT NOT NULL DEFAULT 0;
CREATE INDEX doomed_packs_deletion ON doomed_packs (deletion);
