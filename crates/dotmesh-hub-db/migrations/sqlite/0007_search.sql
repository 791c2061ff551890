-- The words of commits' messages. The text itself is not kept a second time, only where each commit is.

CREATE VIRTUAL TABLE commit_words USING fts5 (
    -- The dot's id is a word as well: whoever sees few dots searches in these only.
    dot,
    message,
    dot_id UNINDEXED,
    commit_id UNINDEXED,
    content = '',
    contentless_delete = 1,
    contentless_unindexed = 1
);
INSERT INTO commit_words (dot, message, dot_id, commit_id) SELECT dot, message, dot, id FROM commits ORDER BY time;

-- Commits are never changed, and go only with their dot.
CREATE TRIGGER commit_words_insert AFTER INSERT ON commits BEGIN
    INSERT INTO commit_words (dot, message, dot_id, commit_id) VALUES (new.dot, new.message, new.dot, new.id);
END;
CREATE TRIGGER commit_words_delete AFTER DELETE ON dots BEGIN
    DELETE FROM commit_words WHERE rowid IN (SELECT rowid FROM commit_words ('dot : "' || old.id || '"'));
END;
