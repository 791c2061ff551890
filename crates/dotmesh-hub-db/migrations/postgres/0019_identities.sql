-- Which dot it is, whatever it is called: random bits. Each row gets its own, whoever adds it.
ALTER TABLE dots ADD COLUMN identity BYTEA NOT NULL DEFAULT uuid_send(gen_random_uuid());
CREATE UNIQUE INDEX dots_identity ON dots (identity);
