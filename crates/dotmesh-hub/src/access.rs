//! The one rule of who may do what with a dot. Pure: every route asks here, nothing decides elsewhere.

pub use dotmesh_api::dots::{Forks, Visibility};
use dotmesh_api::hub::Access;
use dotmesh_model::{DotName, UserName};

/// What someone wants to do with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See it, clone it.
    Read,
    /// Say something of a commit or a branch.
    Note,
    /// Push to it, make branches and tags; the first push creates it.
    Push,
    /// Describe it, protect branches, delete them and tags.
    Maintain,
    /// Delete, rename or publish it, say who else may do what, and which webhooks are told of it.
    Administer,
}

/// What someone is to a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The namespace bears the user's name.
    Owner,
    /// Was given maintainer's access.
    Maintainer,
    /// Was given write access.
    Writer,
    /// Was given read access, or the dot is public.
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

/// What a credential may be used for, whoever it belongs to. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To read.
    Read,
    /// To push, too.
    Write,
    /// To do all that its user may.
    Admin,
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
    /// The user may see the dot, but this is its maintainers' business.
    MaintainersOnly,
    /// The user may see the dot, but this is its owner's business.
    OwnerOnly,
    /// The user may neither push to nor create it; said in the same words whether it exists or not.
    Closed,
}

/// The rule.
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

/// What a user, or nobody, is to a dot of that name, given what its owner granted and whom it shows it.
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
    /// The role as it is shown; `None` for a stranger.
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
    /// The least that a credential has to be good for.
    pub fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Note | Self::Push => Scope::Write,
            Self::Maintain | Self::Administer => Scope::Admin,
        }
    }
}

/// Whether someone who reads a dot may fork it. What everybody may clone, everybody may fork.
pub fn may_fork(access: Access, visibility: Visibility, forks: Forks) -> bool {
    let least = match (visibility, forks) {
        (Visibility::Public, _) | (_, Forks::AnyoneWhoReads) => Access::Read,
        (Visibility::Private, Forks::Writers) => Access::Write,
        (Visibility::Private, Forks::Nobody) => Access::Owner,
    };
    access >= least
}

/// An event of a dot, by who may know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventClass {
    /// What is in the dot, and what is said of it.
    Content,
    /// Another name or owner: what it was called before may have been private.
    FormerName,
    /// It was made from another dot, which may be private.
    Origin,
    /// Who may do what, to whom it is offered, which webhooks there are.
    Administration,
}

/// How much someone is told of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// All of it.
    Whole,
    /// That it happened, without the other dot's name.
    WithoutName,
    /// Nothing, not even that it happened.
    Nothing,
}

/// What someone who reads a dot is told of an event. `sees_origin` says whether they may see the dot that it was made from.
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

    /// As it is stored and shown.
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

/// A text that names no scope.
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

    /// Every combination, written out: a change of the rule must change this table.
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

    /// The same for forks.
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

    /// The same for events. An origin's name is told to whoever may see that dot, whatever they are to this one.
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
