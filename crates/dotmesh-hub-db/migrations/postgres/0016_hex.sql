-- What SQLite calls so.
CREATE FUNCTION hex(bytes BYTEA) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT encode(bytes, 'hex') $$;
