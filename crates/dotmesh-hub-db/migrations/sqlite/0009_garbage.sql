-- Names of packs that no row has any more, on their way out of the store.
CREATE TABLE doomed_packs (
    name  BLOB PRIMARY KEY,
    -- 'deleted' stays for some time: who has stored the pack again before it was deleted has to know.
    state TEXT NOT NULL CHECK (state IN ('waiting', 'deleting', 'deleted')),
    -- When it came into this state.
    since BIGINT NOT NULL
);
CREATE INDEX packs_name ON packs (name);
CREATE INDEX upload_objects_object ON upload_objects (object);
