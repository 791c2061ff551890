//! SQL: who may read a dot. It is the rule of `dotmesh_hub_model::access`, for statements over many dots.

/// Whether the user of a parameter may read the dot of a table alias. The parameter is null for an anonymous visitor.
macro_rules! may_read {
    ($dot:literal, $user:literal) => {
        concat!(
            "(",
            $dot,
            ".visibility = 'public' OR ",
            $dot,
            ".owner = ",
            $user,
            " OR EXISTS (SELECT 1 FROM collaborators g WHERE g.dot = ",
            $dot,
            ".id AND g.\"user\" = ",
            $user,
            "))"
        )
    };
}
pub(crate) use may_read;
