-- What people see and do on pages: sessions, scoped keys, descriptions, visibility, tags, notes, events.

-- 1: may see users, storage and jobs. Gives no access to anyone's dots.
ALTER TABLE users ADD COLUMN admin INTEGER NOT NULL DEFAULT 0;

ALTER TABLE api_keys ADD COLUMN name TEXT NOT NULL DEFAULT 'key';
ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin' CHECK (scope IN ('read', 'write', 'admin'));
-- NULL: never ends; was never used.
ALTER TABLE api_keys ADD COLUMN expires INTEGER;
ALTER TABLE api_keys ADD COLUMN used INTEGER;

CREATE TABLE sessions (
    -- SHA-256 of what is in the cookie.
    digest  BLOB PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    -- Moved on now and then; a session ends some time after it.
    used    INTEGER NOT NULL,
    -- What the browser calls itself, cut.
    agent   TEXT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- One-time links: to make an account, to set a forgotten password.
CREATE TABLE links (
    digest  BLOB PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('invitation', 'password')),
    -- Whose password; NULL for an invitation.
    user_id INTEGER REFERENCES users (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
);

-- How often something was tried in a stretch of time that ends at `ends`.
CREATE TABLE attempts (
    subject TEXT PRIMARY KEY,
    count   INTEGER NOT NULL,
    ends    INTEGER NOT NULL
);

-- Markdown.
ALTER TABLE dots ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE dots ADD COLUMN visibility TEXT NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public'));
ALTER TABLE dots ADD COLUMN default_branch TEXT NOT NULL DEFAULT 'master';
ALTER TABLE dots ADD COLUMN forked_from INTEGER REFERENCES dots (id) ON DELETE SET NULL;
-- When it was last pushed to; NULL for one that was made otherwise.
ALTER TABLE dots ADD COLUMN pushed INTEGER;
-- When it was deleted. Until its grace ends it is kept under the name NAME~ID, which no dot can have.
ALTER TABLE dots ADD COLUMN deleted INTEGER;

-- Names that a dot had: its old addresses lead to it until another dot takes the name.
CREATE TABLE former_names (
    owner INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    dot   INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    PRIMARY KEY (owner, name)
);
CREATE INDEX former_names_dot ON former_names (dot);

-- Another set of values, so another table.
CREATE TABLE grants (
    dot    INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    user   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    access TEXT NOT NULL CHECK (access IN ('read', 'write', 'maintain')),
    PRIMARY KEY (dot, user)
) WITHOUT ROWID;
INSERT INTO grants (dot, user, access) SELECT dot, user, access FROM collaborators;
DROP TABLE collaborators;
ALTER TABLE grants RENAME TO collaborators;
CREATE INDEX collaborators_user ON collaborators (user);

-- Said again beside the record, to sort and to search by.
ALTER TABLE commits ADD COLUMN author TEXT NOT NULL DEFAULT '';
ALTER TABLE commits ADD COLUMN time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE commits ADD COLUMN message TEXT NOT NULL DEFAULT '';
UPDATE commits SET
    author = json_extract(record, '$.author'),
    time = unixepoch(json_extract(record, '$.time')),
    message = json_extract(record, '$.message');
CREATE INDEX commits_time ON commits (dot, time);

CREATE TABLE protected_branches (
    dot  INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (dot, name)
) WITHOUT ROWID;

CREATE TABLE tags (
    dot       INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    commit_id BLOB NOT NULL,
    message   TEXT NOT NULL,
    -- Who made it, as they were named then.
    author    TEXT NOT NULL,
    created   INTEGER NOT NULL,
    PRIMARY KEY (dot, name)
) WITHOUT ROWID;
CREATE INDEX tags_commit ON tags (dot, commit_id);

-- What people say of a branch or of a commit.
CREATE TABLE notes (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    dot       INTEGER NOT NULL REFERENCES dots (id) ON DELETE CASCADE,
    -- One of the two.
    branch    TEXT,
    commit_id BLOB,
    author    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created   INTEGER NOT NULL,
    -- Markdown.
    body      TEXT NOT NULL
);
CREATE INDEX notes_dot ON notes (dot, commit_id);

-- The audit log and the activity pages. Names are kept as they were, so that an entry outlives what it tells of.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    -- The dot, as long as it is there.
    dot      INTEGER REFERENCES dots (id) ON DELETE SET NULL,
    dot_name TEXT,
    kind     TEXT NOT NULL,
    -- JSON: what `kind` needs to be told.
    detail   TEXT NOT NULL
);
CREATE INDEX events_dot ON events (dot, id);
