-- How many bytes someone's namespace may have: NULL for the hub's default, -1 for any number.
ALTER TABLE users ADD COLUMN quota INTEGER;
