-- One row: by what name the store of packs knows this database. Whoever deletes what no row names has to be sure that there
-- are no rows elsewhere.
CREATE TABLE hub (id TEXT PRIMARY KEY);
