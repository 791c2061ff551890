//! The access rule: which role may do what with a dot. Pure. Every route asks this module, and no other module decides
//! about access.

pub use dotmesh_api::dots::{Forks, Visibility};
use dotmesh_api::hub::Access;
use dotmesh_model::{DotName, UserName};

/// An action on a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See the dot and clone it.
    Read,
    /// Write a note on a commit or a branch.
    Note,
    /// Push, and create branches and tags. The first push creates the dot.
    Push,
    /// Describe the dot, protect branches, and delete branches and tags.
    Maintain,
    /// Delete, rename or publish the dot, and manage its collaborators and webhooks.
    Administer,
}

/// A user's role in a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user's name is the dot's namespace.
    Owner,
    /// A collaborator with maintain access.
    Maintainer,
    /// A collaborator with write access.
    Writer,
    /// A collaborator with read access, or any user if the dot is public.
    Reader,
    /// None of these.
    Stranger,
}

/// Whether a dot of a name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Exists,
    Missing,
}

/// The scope of a credential. It limits what the credential can do, independently of its user's roles. Each scope
/// includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read.
    Read,
    /// Read and push.
    Write,
    /// Everything that the user may do.
    Admin,
}

/// The answer of the access rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The action is allowed.
    Allow,
    /// Answer as if no such dot exists, whether it exists or not.
    Hide,
    /// The user may see the dot but not push to it.
    ReadOnly,
    /// The user may see the dot, but only maintainers may do this.
    MaintainersOnly,
    /// The user may see the dot, but only the owner may do this.
    OwnerOnly,
    /// The user may neither push to the dot nor create it. The answer is the same whether the dot exists or not.
    Closed,
}

/// Applies the access rule.
pub fn judge(role: Role, presence: Presence, action: Action) -> Verdict {
    use Presence::{Exists, Missing};
    match (action, presence, role) {
        (Action::Push, _, Role::Owner) => Verdict::Allow,
        (Action::Push, Missing, _) | (Action::Push, _, Role::Stranger) => Verdict::Closed,
        (_, Missing, _) | (_, _, Role::Stranger) => Verdict::Hide,

        (_, Exists, Role::Owner) => Verdict::Allow,
        (Action::Read | Action::Note, Exists, _) => Verdict::Allow,
        (Action::Push, Exists, Role::Maintainer | Role::Writer) => Verdict::Allow,
        (Action::Push, Exists, Role::Reader) => Verdict::ReadOnly,
        (Action::Maintain, Exists, Role::Maintainer) => Verdict::Allow,
        (Action::Maintain, Exists, _) => Verdict::MaintainersOnly,
        (Action::Administer, Exists, _) => Verdict::OwnerOnly,
    }
}

/// Returns the role of a user, or of an anonymous viewer, in a dot. `grant` is the access that the owner has given the
/// user.
pub fn role(
    user: Option<&UserName>,
    dot: &DotName,
    grant: Option<Access>,
    visibility: Visibility,
) -> Role {
    if user.is_some_and(|user| user.as_str() == dot.namespace.as_str()) {
        return Role::Owner;
    }
    match (grant, visibility) {
        (Some(Access::Owner | Access::Maintain), _) => Role::Maintainer,
        (Some(Access::Write), _) => Role::Writer,
        (Some(Access::Read), _) | (None, Visibility::Public) => Role::Reader,
        (None, Visibility::Private) => Role::Stranger,
    }
}

impl Role {
    /// Returns the role's access level, as it is shown. `None` for a stranger.
    pub fn access(self) -> Option<Access> {
        match self {
            Self::Owner => Some(Access::Owner),
            Self::Maintainer => Some(Access::Maintain),
            Self::Writer => Some(Access::Write),
            Self::Reader => Some(Access::Read),
            Self::Stranger => None,
        }
    }
}

impl Action {
    /// Returns the narrowest scope that allows the action.
    pub fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Note | Self::Push => Scope::Write,
            Self::Maintain | Self::Administer => Scope::Admin,
        }
    }
}

/// Returns whether a reader of a dot may fork it. Everybody may fork a public dot.
pub fn may_fork(access: Access, visibility: Visibility, forks: Forks) -> bool {
    let least = match (visibility, forks) {
        (Visibility::Public, _) | (_, Forks::AnyoneWhoReads) => Access::Read,
        (Visibility::Private, Forks::Writers) => Access::Write,
        (Visibility::Private, Forks::Nobody) => Access::Owner,
    };
    access >= least
}

/// The class of a dot's event. It decides who may see the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventClass {
    /// A change of the dot's content, its description or its notes.
    Content,
    /// A new name or owner. The former name may have been private.
    FormerName,
    /// A fork from another dot, which may be private.
    Origin,
    /// A change of collaborators, offers or webhooks.
    Administration,
}

/// How much of an event a viewer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// The whole event.
    Whole,
    /// The event without the other dot's name.
    WithoutName,
    /// Nothing, not even that the event happened.
    Nothing,
}

/// Returns how much of an event a reader of the dot sees. `sees_origin` says whether the reader may see the dot that
/// this one was forked from.
pub fn tell(class: EventClass, access: Access, sees_origin: bool) -> Telling {
    match class {
        EventClass::Content => Telling::Whole,
        EventClass::FormerName if access >= Access::Maintain => Telling::Whole,
        EventClass::Origin if sees_origin => Telling::Whole,
        EventClass::FormerName | EventClass::Origin => Telling::WithoutName,
        EventClass::Administration if access == Access::Owner => Telling::Whole,
        EventClass::Administration => Telling::Nothing,
    }
}

impl Scope {
    /// Every scope, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The scope, as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

/// A text that is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's scope is read, write or admin")]
pub struct UnknownScope;

#[cfg(test)]
mod tests {
    use super::Action::{Administer, Maintain, Note, Push, Read};
    use super::Presence::{Exists, Missing};
    use super::Role::{Maintainer, Owner, Reader, Stranger, Writer};
    use super::Verdict::{Allow, Closed, Hide, MaintainersOnly, OwnerOnly, ReadOnly};
    use super::*;

    const ACTIONS: [Action; 5] = [Read, Note, Push, Maintain, Administer];

    /// Every combination is written out, so that a change of the rule must change this table.
    #[test]
    fn the_whole_table() {
        let table = [
            (Owner, Exists, [Allow, Allow, Allow, Allow, Allow]),
            (Maintainer, Exists, [Allow, Allow, Allow, Allow, OwnerOnly]),
            (
                Writer,
                Exists,
                [Allow, Allow, Allow, MaintainersOnly, OwnerOnly],
            ),
            (
                Reader,
                Exists,
                [Allow, Allow, ReadOnly, MaintainersOnly, OwnerOnly],
            ),
            (Stranger, Exists, [Hide, Hide, Closed, Hide, Hide]),
            (Owner, Missing, [Hide, Hide, Allow, Hide, Hide]),
            (Maintainer, Missing, [Hide, Hide, Closed, Hide, Hide]),
            (Writer, Missing, [Hide, Hide, Closed, Hide, Hide]),
            (Reader, Missing, [Hide, Hide, Closed, Hide, Hide]),
            (Stranger, Missing, [Hide, Hide, Closed, Hide, Hide]),
        ];
        for (role, presence, verdicts) in table {
            for (action, verdict) in ACTIONS.into_iter().zip(verdicts) {
                assert_eq!(
                    judge(role, presence, action),
                    verdict,
                    "{role:?} {presence:?} {action:?}"
                );
            }
        }
    }

    /// The same for `may_fork`.
    #[test]
    fn the_whole_table_of_forks() {
        use Visibility::{Private, Public};
        let all = [Access::Owner, Access::Maintain, Access::Write, Access::Read];
        let table = [
            (Private, Forks::AnyoneWhoReads, [true, true, true, true]),
            (Private, Forks::Writers, [true, true, true, false]),
            (Private, Forks::Nobody, [true, false, false, false]),
        ];
        for (visibility, forks, answers) in table {
            for (access, answer) in all.into_iter().zip(answers) {
                assert_eq!(
                    may_fork(access, visibility, forks),
                    answer,
                    "{access:?} {forks:?}"
                );
                assert!(may_fork(access, Public, forks), "{access:?} {forks:?}");
            }
        }
    }

    /// The same for `tell`. A viewer who may see the origin learns its name, whatever their role in this dot is.
    #[test]
    fn the_whole_table_of_events() {
        use EventClass::{Administration, Content, FormerName, Origin};
        use Telling::{Nothing, Whole, WithoutName};
        let classes = [Content, FormerName, Origin, Administration];
        let table = [
            (Access::Owner, [Whole, Whole, WithoutName, Whole]),
            (Access::Maintain, [Whole, Whole, WithoutName, Nothing]),
            (Access::Write, [Whole, WithoutName, WithoutName, Nothing]),
            (Access::Read, [Whole, WithoutName, WithoutName, Nothing]),
        ];
        for (access, tellings) in table {
            for (class, telling) in classes.into_iter().zip(tellings) {
                let told = tell(class, access, false);
                assert_eq!(told, telling, "{access:?} {class:?}");
                if class == Origin {
                    assert_eq!(tell(class, access, true), Whole, "{access:?}");
                }
            }
        }
    }

    #[test]
    fn a_stranger_cannot_tell_a_hidden_dot_from_none() {
        for action in ACTIONS {
            assert_eq!(
                judge(Stranger, Exists, action),
                judge(Stranger, Missing, action)
            );
        }
    }

    #[test]
    fn the_namespace_makes_the_owner_and_a_grant_the_rest() {
        use Visibility::{Private, Public};
        let dot: DotName = "alice/app".parse().expect("a name");
        let (alice, other_alice, bob) = (user("alice"), user("Alice"), user("bob"));
        let role = |user: &UserName, grant, visibility| role(Some(user), &dot, grant, visibility);
        assert_eq!(role(&alice, None, Private), Owner);
        assert_eq!(role(&other_alice, None, Private), Stranger);
        for visibility in [Private, Public] {
            assert_eq!(role(&bob, Some(Access::Maintain), visibility), Maintainer);
            assert_eq!(role(&bob, Some(Access::Write), visibility), Writer);
            assert_eq!(role(&bob, Some(Access::Read), visibility), Reader);
        }
        assert_eq!(role(&bob, None, Private), Stranger);
        assert_eq!(role(&bob, None, Public), Reader);
        assert_eq!(super::role(None, &dot, None, Public), Reader);
        assert_eq!(super::role(None, &dot, None, Private), Stranger);
    }

    fn user(name: &str) -> UserName {
        name.parse().expect("a name")
    }
}
