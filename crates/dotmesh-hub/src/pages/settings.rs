//! `/OWNER/DOT/settings`: the dot's settings, for its maintainers and its owner.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use dotmesh_api::dots::{ChangeSettings, Forks, Visibility};
use dotmesh_api::hub::{Access, Collaborator, HubBranch};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::{
    change_settings, delete_dot, grant_access, offer_dot, protect_branch, rename_dot,
};
use dotmesh_model::{BranchName, DotName, UserName};
use serde::Deserialize;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::web::form::Form;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The access levels that can be granted.
const GRANTS: [Access; 3] = [Access::Read, Access::Write, Access::Maintain];

/// The most branches to choose from. Users can type others.
const MAX_CHOICES: u32 = 100;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    visit: Visit,
    dot: DotHeader,
    branches: Vec<HubBranch>,
    protected: BTreeSet<BranchName>,
    collaborators: Vec<Collaborator>,
    offered_to: Option<UserName>,
}

impl SettingsPage {
    fn tab(&self) -> Tab {
        Tab::Settings
    }

    /// Returns whether there may be more branches than are listed.
    fn has_more(&self) -> bool {
        self.branches.len() >= MAX_CHOICES as usize
    }

    /// Returns the listed branches that are not protected.
    fn unprotected(&self) -> Vec<&BranchName> {
        let names = self.branches.iter().map(|branch| &branch.name);
        names
            .filter(|name| !self.protected.contains(*name))
            .collect()
    }
}

/// A form with a user's name.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    user: String,
}

/// The form that grants access to a user.
#[derive(Debug, Deserialize)]
pub(crate) struct Granted {
    user: String,
    access: Access,
}

/// A form with a branch.
#[derive(Debug, Deserialize)]
pub(crate) struct Branch {
    branch: BranchName,
}

/// The form that changes the visibility.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    visibility: Visibility,
    #[serde(default)]
    allow_secrets: bool,
}

/// The form that changes who may fork the dot.
#[derive(Debug, Deserialize)]
pub(crate) struct ForksForm {
    forks: Forks,
}

/// A form with a name: the dot's new name, or its present name as a confirmation.
#[derive(Debug, Deserialize)]
pub(crate) struct Name {
    name: String,
}

/// Shows the settings.
pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Maintain).await?;
    let id = open.existing()?;
    let branches = hub.database.newest_branches(id, MAX_CHOICES).await?;
    let protected = hub.database.protected(id).await?;
    let (mut collaborators, mut offered_to) = (Vec::new(), None);
    if dot.is_owner() {
        collaborators = hub.database.collaborators(id).await?;
        offered_to = hub.database.offered_to(id).await?;
    }
    render(&SettingsPage {
        visit,
        dot,
        branches,
        protected,
        collaborators,
        offered_to,
    })
}

/// Changes the description and the default branch.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(change): Form<ChangeSettings>,
) -> Page {
    let change = ChangeSettings {
        visibility: None,
        forks: None,
        ..change
    };
    change_settings::change_settings(&hub, visit.caller()?, &name, change).await?;
    back(&name)
}

/// Publishes the dot, or makes it private.
pub(crate) async fn visibility(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(form): Form<Shown>,
) -> Page {
    let change = ChangeSettings {
        visibility: Some(form.visibility),
        allow_secrets: form.allow_secrets,
        ..ChangeSettings::default()
    };
    change_settings::change_settings(&hub, visit.caller()?, &name, change).await?;
    back(&name)
}

/// Changes who may fork the dot while it is private.
pub(crate) async fn forks(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(ForksForm { forks }): Form<ForksForm>,
) -> Page {
    let change = ChangeSettings {
        forks: Some(forks),
        ..ChangeSettings::default()
    };
    change_settings::change_settings(&hub, visit.caller()?, &name, change).await?;
    back(&name)
}

/// Grants access, or changes the access that a user has.
pub(crate) async fn grant(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(Granted { user, access }): Form<Granted>,
) -> Page {
    let user = parse_user(&user)?;
    grant_access::grant_access(&hub, visit.caller()?, &name, user, access).await?;
    back(&name)
}

/// Revokes access.
pub(crate) async fn revoke(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(User { user }): Form<User>,
) -> Page {
    let user = parse_user(&user)?;
    grant_access::revoke_access(&hub, visit.caller()?, &name, user).await?;
    back(&name)
}

/// Protects a branch.
pub(crate) async fn protect(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(Branch { branch }): Form<Branch>,
) -> Page {
    protect_branch::protect_branch(&hub, visit.caller()?, &name, &branch, true).await?;
    back(&name)
}

/// Lifts a branch's protection.
pub(crate) async fn unprotect(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(Branch { branch }): Form<Branch>,
) -> Page {
    protect_branch::protect_branch(&hub, visit.caller()?, &name, &branch, false).await?;
    back(&name)
}

/// Renames the dot.
pub(crate) async fn rename(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(Name { name: to }): Form<Name>,
) -> Page {
    let to = rename_dot::rename_dot(&hub, visit.caller()?, &name, to.trim()).await?;
    back(&to)
}

/// Offers the dot to another user.
pub(crate) async fn offer(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(User { user }): Form<User>,
) -> Page {
    let user = parse_user(&user)?;
    offer_dot::offer_dot(&hub, visit.caller()?, &name, user).await?;
    back(&name)
}

/// Withdraws the offer.
pub(crate) async fn withdraw(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    offer_dot::withdraw_offer(&hub, visit.caller()?, &name).await?;
    back(&name)
}

/// Deletes the dot, if the user has typed its name as a confirmation.
pub(crate) async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(Name { name: typed }): Form<Name>,
) -> Page {
    let caller = visit.caller()?;
    let open = caller.open(&hub, &name, Action::Administer).await?;
    if typed.trim() != open.name.name() {
        return Err(HttpError::malformed(format!(
            "to delete it, type the dot's name: {}",
            open.name.name()
        )));
    }
    delete_dot::delete_dot(&hub, caller, &name).await?;
    go("/-/trash")
}

fn parse_user(user: &str) -> Result<UserName, HttpError> {
    Ok(user.trim().parse()?)
}

fn back(dot: &DotName) -> Page {
    go(&format!("/{}/settings", dot.full()))
}
