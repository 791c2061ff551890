//! Opening a dot: who may do what with it, by the rule of `access.rs`.

use dotmesh_api::hub::Access;
use dotmesh_hub_db::dots::{DotFacts, OtherDot};
use dotmesh_hub_db::events::Deed;
use dotmesh_hub_db::ids::{DotId, UserId};
use dotmesh_hub_model::access::{self, Action, Presence, Verdict, Visibility};
use dotmesh_model::{DotIdentity, DotName};

use super::{Caller, Viewer};
use crate::error::HubError;
use crate::gate::Share;
use crate::rate_limit::Subject;
use crate::state::Hub;

/// A dot that a user may do something with.
#[derive(Debug, Clone)]
pub struct OpenDot {
    /// Its name, which need not be the one that was asked for: dots are found by their former names, too.
    pub name: DotName,
    /// The user whose namespace it is in.
    pub owner: UserId,
    /// The dot; `None` when a push is about to create it.
    pub id: Option<DotId>,
    /// Which dot that is, whatever it is called.
    pub identity: Option<DotIdentity>,
    /// What the user may do.
    pub access: Access,
    /// Who else may see it.
    pub visibility: Visibility,
    /// Who opened it: whose share of the hub's work it takes.
    pub subject: Subject,
}

impl OpenDot {
    fn new(
        asked: &DotName,
        facts: &DotFacts,
        role: access::Role,
        subject: &Subject,
    ) -> Result<Self, HubError> {
        let hidden = || HubError::NoSuchDot { dot: asked.clone() };
        Ok(Self {
            name: facts.name.clone(),
            owner: facts.owner.ok_or_else(hidden)?,
            id: facts.dot,
            identity: facts.identity,
            access: role.access().ok_or_else(hidden)?,
            visibility: facts.visibility,
            subject: subject.clone(),
        })
    }

    /// The share of work that costs CPU of who opened it.
    pub fn share(&self, hub: &Hub) -> Share {
        hub.gate.share(self.subject.clone())
    }

    /// The dot, which exists whenever the action was not a push.
    pub fn existing(&self) -> Result<DotId, HubError> {
        self.id.ok_or_else(|| HubError::NoSuchDot {
            dot: self.name.clone(),
        })
    }
}

impl OpenDot {
    /// What is about to be done to it, for the audit log.
    pub fn deed<'a>(&'a self, hub: &Hub, actor: &'a Caller) -> Result<Deed<'a>, HubError> {
        Ok(Deed {
            actor: &actor.name,
            dot: self.existing()?,
            name: &self.name,
            now: hub.clock.now(),
        })
    }
}

impl Viewer {
    /// Opens a dot for an action, or says why not.
    pub async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        let user = self.caller.as_ref().map(|caller| caller.id);
        let facts = hub.database.dot_facts(dot, user, self.meant).await?;
        self.admit(dot, &facts, action)
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        if let Some(only) = self.caller.as_ref().and_then(|caller| caller.only.as_ref())
            && facts.dot != Some(only.id)
        {
            // What everybody may read, and nothing more.
            let is_open = facts.visibility == Visibility::Public && facts.other.is_none();
            return match facts.dot {
                Some(_) if is_open && action == Action::Read => {
                    OpenDot::new(dot, facts, access::Role::Reader, &self.subject)
                }
                _ => Err(HubError::KeyOfAnotherDot {
                    dot: only.name.clone(),
                }),
            };
        }
        let name = self.caller.as_ref().map(|caller| &caller.name);
        let role = access::role(name, &facts.name, facts.grant, facts.visibility);
        let presence = if facts.dot.is_some() {
            Presence::Exists
        } else {
            Presence::Missing
        };
        if let Some(OtherDot { now }) = &facts.other
            && (now.is_some() || role != access::Role::Stranger)
        {
            // Who may see neither the dot that is meant nor that of the name gets the answer to who names none.
            return Err(HubError::AnotherDot {
                dot: dot.clone(),
                now: now.clone(),
            });
        }
        let verdict = access::judge(role, presence, action);
        // Nobody may be somebody who has only not said so yet.
        let Some(caller) = &self.caller else {
            return match verdict {
                Verdict::Allow => OpenDot::new(dot, facts, role, &self.subject),
                _ => Err(HubError::LoginNeeded),
            };
        };
        let (user, dot_name) = (caller.name.clone(), dot.clone());
        match verdict {
            Verdict::Allow if caller.scope < action.scope() => Err(HubError::NarrowKey {
                needed: action.scope(),
            }),
            Verdict::Allow => OpenDot::new(dot, facts, role, &self.subject),
            Verdict::Hide => Err(HubError::NoSuchDot { dot: dot_name }),
            Verdict::ReadOnly => Err(HubError::ReadOnly {
                user,
                dot: dot_name,
            }),
            Verdict::Closed => Err(HubError::Closed {
                user,
                dot: dot_name,
            }),
            Verdict::MaintainersOnly => Err(HubError::MaintainersOnly { dot: dot_name }),
            Verdict::OwnerOnly => Err(HubError::OwnerOnly { dot: dot_name }),
        }
    }
}

impl Caller {
    /// Opens a dot for an action, or says why not.
    pub async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        self.viewer().open(hub, dot, action).await
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        self.viewer().admit(dot, facts, action)
    }
}
