-- Here they are kept as they are.
SELECT 1;
