-- Here a dot's id is no number among the words: it begins with a `#`.
SELECT 1;
