CREATE TABLE doomed_packs (
    name  BYTEA PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'deleting', 'deleted')),
    since BIGINT NOT NULL
);
CREATE INDEX packs_name ON packs (name);
CREATE INDEX upload_objects_object ON upload_objects (object);
