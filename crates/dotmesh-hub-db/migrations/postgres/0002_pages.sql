-- What people see and do on pages: sessions, scoped keys, descriptions, visibility, tags, notes, events. The comments
-- on tables and columns are in the migration of the same number for SQLite.

ALTER TABLE users ADD COLUMN admin BIGINT NOT NULL DEFAULT 0;

ALTER TABLE api_keys ADD COLUMN name TEXT NOT NULL DEFAULT 'key';
ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin' CHECK (scope IN ('read', 'write', 'admin'));
ALTER TABLE api_keys ADD COLUMN expires BIGINT;
ALTER TABLE api_keys ADD COLUMN used BIGINT;

CREATE TABLE sessions (
    digest  BYTEA PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL,
    agent   TEXT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE links (
    digest  BYTEA PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('invitation', 'password')),
    user_id BIGINT REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE attempts (
    subject TEXT COLLATE "C" PRIMARY KEY,
    count   BIGINT NOT NULL,
    ends    BIGINT NOT NULL
);

ALTER TABLE dots ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE dots ADD COLUMN visibility TEXT NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public'));
ALTER TABLE dots ADD COLUMN default_branch TEXT COLLATE "C" NOT NULL DEFAULT 'master';
ALTER TABLE dots ADD COLUMN forked_from BIGINT REFERENCES dots (id) ON DELETE SET NULL;
ALTER TABLE dots ADD COLUMN pushed BIGINT;
ALTER TABLE dots ADD COLUMN deleted BIGINT;

CREATE TABLE former_names (
    owner BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name  TEXT COLLATE "C" NOT NULL,
    dot   BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    PRIMARY KEY (owner, name)
);
CREATE INDEX former_names_dot ON former_names (dot);

ALTER TABLE collaborators DROP CONSTRAINT collaborators_access_check;
ALTER TABLE collaborators ADD CHECK (access IN ('read', 'write', 'maintain'));

ALTER TABLE commits ADD COLUMN author TEXT NOT NULL DEFAULT '';
ALTER TABLE commits ADD COLUMN time BIGINT NOT NULL DEFAULT 0;
ALTER TABLE commits ADD COLUMN message TEXT NOT NULL DEFAULT '';
-- No release has had commits here before this migration: there are none to fill the columns of.
CREATE INDEX commits_time ON commits (dot, time);

CREATE TABLE protected_branches (
    dot  BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (dot, name)
);

CREATE TABLE tags (
    dot       BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name      TEXT COLLATE "C" NOT NULL,
    commit_id BYTEA NOT NULL,
    message   TEXT NOT NULL,
    author    TEXT NOT NULL,
    created   BIGINT NOT NULL,
    PRIMARY KEY (dot, name)
);
CREATE INDEX tags_commit ON tags (dot, commit_id);

CREATE TABLE notes (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dot       BIGINT NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    branch    TEXT COLLATE "C",
    commit_id BYTEA,
    author    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created   BIGINT NOT NULL,
    body      TEXT NOT NULL
);
CREATE INDEX notes_dot ON notes (dot, commit_id);

CREATE TABLE events (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time     BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    dot      BIGINT REFERENCES dots (id) ON DELETE SET NULL,
    dot_name TEXT,
    kind     TEXT NOT NULL,
    detail   TEXT NOT NULL
);
CREATE INDEX events_dot ON events (dot, id);
