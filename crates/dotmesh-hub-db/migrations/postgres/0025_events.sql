-- Bytes of the dot's events, which count towards the quota of its namespace.
ALTER TABLE dots ADD COLUMN events BIGINT NOT NULL DEFAULT 0;
UPDATE dots SET events =
    (SELECT CAST(coalesce(sum(octet_length(e.detail)), 0) AS BIGINT) FROM events e WHERE e.dot = dots.id);
