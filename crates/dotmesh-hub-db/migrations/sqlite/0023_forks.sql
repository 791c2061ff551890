-- Who may fork the dot while it is private, of those who may read it.
ALTER TABLE dots ADD COLUMN forks TEXT NOT NULL DEFAULT 'writers' CHECK (forks IN ('anyone-who-reads', 'writers', 'nobody'));
