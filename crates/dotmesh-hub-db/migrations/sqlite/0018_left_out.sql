-- What is in a commit where it was made, and not in its tree: JSON, as it was pushed. NULL: nothing, or the client did not say.
ALTER TABLE commits ADD COLUMN left_out TEXT;
