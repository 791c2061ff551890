-- The index took accents off by default: `À` found `a`, which it does not on PostgreSQL, and which is not marked in what was found.
DROP TRIGGER commit_words_insert;
DROP TRIGGER commit_words_delete;
DROP TABLE commit_words;
-- SQLite leaves this one behind.
DROP TABLE IF EXISTS commit_words_content;

CREATE VIRTUAL TABLE commit_words USING fts5 (
    -- `dot` and the dot's id: whoever sees few dots searches in these only.
    dot,
    message,
    dot_id UNINDEXED,
    commit_id UNINDEXED,
    content = '',
    contentless_delete = 1,
    contentless_unindexed = 1,
    tokenize = "unicode61 remove_diacritics 0"
);
INSERT INTO commit_words (dot, message, dot_id, commit_id)
SELECT 'dot' || dot, message, dot, id FROM commits ORDER BY rowid;

CREATE TRIGGER commit_words_insert AFTER INSERT ON commits BEGIN
    INSERT INTO commit_words (dot, message, dot_id, commit_id)
    VALUES ('dot' || new.dot, new.message, new.dot, new.id);
END;
CREATE TRIGGER commit_words_delete AFTER DELETE ON dots BEGIN
    DELETE FROM commit_words WHERE rowid IN (SELECT rowid FROM commit_words ('dot : "dot' || old.id || '"'));
END;
