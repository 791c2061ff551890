-- Which dot it is, whatever it is called: 128 random bits. Each row gets its own, whoever adds it.
ALTER TABLE dots ADD COLUMN identity BLOB;
UPDATE dots SET identity = randomblob(16);
CREATE UNIQUE INDEX dots_identity ON dots (identity);
CREATE TRIGGER dots_get_identity AFTER INSERT ON dots WHEN NEW.identity IS NULL BEGIN
    UPDATE dots SET identity = randomblob(16) WHERE id = NEW.id;
END;
