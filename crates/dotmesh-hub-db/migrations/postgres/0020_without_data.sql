-- 1: the commit has a record, a root and a seal, but was never sent with its data. Its root is no object of the dot.
ALTER TABLE commits ADD COLUMN without_data BIGINT NOT NULL DEFAULT 0;
-- There are few of them, if any: counting and listing them must not read the others.
CREATE INDEX commits_without_data ON commits (dot, id) WHERE without_data = 1;
