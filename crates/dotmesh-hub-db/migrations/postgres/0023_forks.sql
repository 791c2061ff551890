-- The comment is in the migration of the same number for SQLite.
ALTER TABLE dots ADD COLUMN forks TEXT NOT NULL DEFAULT 'writers' CHECK (forks IN ('anyone-who-reads', 'writers', 'nobody'));
