-- Bytes of what the dot's commits say: records, and what is said again beside them. Commits go with their dot only.
ALTER TABLE dots ADD COLUMN texts INTEGER NOT NULL DEFAULT 0;
UPDATE dots SET texts =
    (SELECT CAST(coalesce(sum(octet_length(c.record) + octet_length(c.author) + octet_length(c.message)
                              + coalesce(octet_length(c.left_out), 0)), 0) AS INTEGER)
     FROM commits c WHERE c.dot = dots.id);
-- What someone's notes take is summed.
CREATE INDEX notes_author ON notes (author);
-- Attempts end, and are looked for by that.
CREATE INDEX attempts_ends ON attempts (ends);
