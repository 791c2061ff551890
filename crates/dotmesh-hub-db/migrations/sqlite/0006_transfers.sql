-- Dots that their owners offer to another user.

CREATE TABLE transfers (
    dot     INTEGER PRIMARY KEY REFERENCES dots (id) ON DELETE CASCADE,
    -- To whom.
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created INTEGER NOT NULL
);
CREATE INDEX transfers_user ON transfers (user_id);

-- A dot is looked at with its forks.
CREATE INDEX dots_forked_from ON dots (forked_from);
