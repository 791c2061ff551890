//! The one rule of who may do what with a dot. Pure: every route asks here, nothing decides elsewhere.

use dotmesh_api::hub::Access;
use dotmesh_model::{DotName, UserName};

/// What a user wants to do with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See it, clone it.
    Read,
    /// Push to it; the first push creates it.
    Push,
    /// Delete it, say who else may do what.
    Administer,
}

/// What a user is to a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The namespace bears the user's name.
    Owner,
    /// Was given write access.
    Writer,
    /// Was given read access.
    Reader,
    /// Nothing of these.
    Stranger,
}

/// Whether there is a dot of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is.
    Exists,
    /// There is none (yet).
    Missing,
}

/// The rule's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Answer as if there were no such dot, whether there is or not.
    Hide,
    /// The user may see the dot but not push to it.
    ReadOnly,
    /// The user may see the dot, but this is its owner's business.
    OwnerOnly,
    /// The user may neither push to nor create it; said in the same words whether it exists or not.
    Closed,
}

/// The rule.
pub fn judge(role: Role, presence: Presence, action: Action) -> Verdict {
    match (action, presence, role) {
        (Action::Read, Presence::Exists, Role::Owner | Role::Writer | Role::Reader) => {
            Verdict::Allow
        }
        (Action::Read, _, _) => Verdict::Hide,

        (Action::Push, _, Role::Owner) => Verdict::Allow,
        (Action::Push, Presence::Exists, Role::Writer) => Verdict::Allow,
        (Action::Push, Presence::Exists, Role::Reader) => Verdict::ReadOnly,
        (Action::Push, _, _) => Verdict::Closed,

        (Action::Administer, Presence::Exists, Role::Owner) => Verdict::Allow,
        (Action::Administer, Presence::Exists, Role::Writer | Role::Reader) => Verdict::OwnerOnly,
        (Action::Administer, _, _) => Verdict::Hide,
    }
}

/// What `user` is to a dot of that name, given what its owner granted.
pub fn role(user: &UserName, dot: &DotName, grant: Option<Access>) -> Role {
    if user.as_str() == dot.namespace.as_str() {
        return Role::Owner;
    }
    match grant {
        Some(Access::Owner | Access::Write) => Role::Writer,
        Some(Access::Read) => Role::Reader,
        None => Role::Stranger,
    }
}

impl Role {
    /// The role as it is shown; `None` for a stranger.
    pub fn access(self) -> Option<Access> {
        match self {
            Self::Owner => Some(Access::Owner),
            Self::Writer => Some(Access::Write),
            Self::Reader => Some(Access::Read),
            Self::Stranger => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{Administer, Push, Read};
    use super::Presence::{Exists, Missing};
    use super::Role::{Owner, Reader, Stranger, Writer};
    use super::Verdict::{Allow, Closed, Hide, OwnerOnly, ReadOnly};
    use super::*;

    /// Every combination, written out: a change of the rule must change this table.
    #[test]
    fn the_whole_table() {
        let table = [
            (Owner, Exists, [Allow, Allow, Allow]),
            (Writer, Exists, [Allow, Allow, OwnerOnly]),
            (Reader, Exists, [Allow, ReadOnly, OwnerOnly]),
            (Stranger, Exists, [Hide, Closed, Hide]),
            (Owner, Missing, [Hide, Allow, Hide]),
            (Writer, Missing, [Hide, Closed, Hide]),
            (Reader, Missing, [Hide, Closed, Hide]),
            (Stranger, Missing, [Hide, Closed, Hide]),
        ];
        for (role, presence, verdicts) in table {
            for (action, verdict) in [Read, Push, Administer].into_iter().zip(verdicts) {
                assert_eq!(
                    judge(role, presence, action),
                    verdict,
                    "{role:?} {presence:?} {action:?}"
                );
            }
        }
    }

    #[test]
    fn a_stranger_cannot_tell_a_hidden_dot_from_none() {
        for action in [Read, Push, Administer] {
            assert_eq!(
                judge(Stranger, Exists, action),
                judge(Stranger, Missing, action)
            );
        }
    }

    #[test]
    fn the_namespace_makes_the_owner_and_a_grant_the_rest() {
        let dot: DotName = "alice/app".parse().expect("a name");
        let user = |name: &str| name.parse::<UserName>().expect("a name");
        assert_eq!(role(&user("alice"), &dot, None), Owner);
        assert_eq!(role(&user("Alice"), &dot, None), Stranger);
        assert_eq!(role(&user("bob"), &dot, Some(Access::Write)), Writer);
        assert_eq!(role(&user("bob"), &dot, Some(Access::Read)), Reader);
        assert_eq!(role(&user("bob"), &dot, None), Stranger);
    }
}
