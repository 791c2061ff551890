-- The words of commits' messages. The dot's id is a word as well, of a form that no text has: whoever sees few dots
-- searches in these only. A message's beginning is enough: a list of words has a largest size.

CREATE INDEX commits_words ON commits
    USING gin ((array_to_tsvector(ARRAY['#' || dot::text]) || to_tsvector('simple', left(message, 20000))));
