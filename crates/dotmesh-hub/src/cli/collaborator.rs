//! `dothub collaborator add|remove|list`

use clap::{Subcommand, ValueEnum};
use dotmesh_hub_db::collaborators::Grant;
use dotmesh_hub_db::events::{Deed, OPERATOR};
use dotmesh_hub_db::ids::{DotId, UserId};
use dotmesh_hub_db::{Database, Opening};
use dotmesh_model::{DotName, UserName};

use super::ambient;
use super::error::CliError;
use super::{Data, print};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Let a user read or write a dot
    Add {
        /// The dot, NAMESPACE/DOT
        dot: DotName,
        /// The user
        user: UserName,
        /// What the user may do
        #[arg(long, value_enum, default_value = "write")]
        access: Allowed,
        #[command(flatten)]
        data: Data,
    },
    /// Remove a user's access to a dot
    Remove {
        /// The dot, NAMESPACE/DOT
        dot: DotName,
        /// The user
        user: UserName,
        #[command(flatten)]
        data: Data,
    },
    /// List the users who can access a dot besides its owner
    List {
        /// The dot, NAMESPACE/DOT
        dot: DotName,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Allowed {
    /// Read and clone
    Read,
    /// Also push
    Write,
    /// Also change the description, and protect or delete branches
    Maintain,
}

/// Runs it.
pub(super) async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Add {
            dot,
            user,
            access,
            data,
        } => {
            let database = data.database(Opening::Existing).await?;
            let id = find_user(&database, &user).await?;
            let dot_id = find_dot(&database, &dot, id).await?;
            if user.as_str() == dot.namespace.as_str() {
                return Err(CliError::IsOwner {
                    user,
                    dot: dot.full(),
                });
            }
            let grant = match access {
                Allowed::Read => Grant::Read,
                Allowed::Write => Grant::Write,
                Allowed::Maintain => Grant::Maintain,
            };
            database.grant(deed(dot_id, &dot), id, &user, grant).await?;
            print(format_args!("{user} may {} {}", verb(access), dot.full()))
        }
        Command::Remove { dot, user, data } => {
            let database = data.database(Opening::Existing).await?;
            let id = find_user(&database, &user).await?;
            let dot_id = find_dot(&database, &dot, id).await?;
            if !database.revoke(deed(dot_id, &dot), id, &user).await? {
                return Err(CliError::NoAccess {
                    user,
                    dot: dot.full(),
                });
            }
            print(format_args!(
                "{user} is no longer a collaborator of {}",
                dot.full()
            ))
        }
        Command::List { dot, data } => {
            let database = data.database(Opening::Existing).await?;
            let owner: UserName = dot
                .namespace
                .as_str()
                .parse()
                .map_err(|_| CliError::NoSuchDot(dot.full()))?;
            let owner = find_user(&database, &owner).await?;
            let dot_id = find_dot(&database, &dot, owner).await?;
            for collaborator in database.collaborators(dot_id).await? {
                let access = collaborator.access.as_str();
                print(format_args!("{:<24} {access}", collaborator.user.as_str()))?;
            }
            Ok(())
        }
    }
}

fn deed(id: DotId, name: &DotName) -> Deed<'_> {
    Deed {
        actor: &OPERATOR,
        dot: id,
        name,
        now: ambient::now(),
    }
}

fn verb(access: Allowed) -> &'static str {
    match access {
        Allowed::Read => "read",
        Allowed::Write => "write",
        Allowed::Maintain => "maintain",
    }
}

async fn find_user(database: &Database, user: &UserName) -> Result<UserId, CliError> {
    database
        .user(user)
        .await?
        .ok_or_else(|| CliError::NoSuchUser(user.clone()))
}

async fn find_dot(database: &Database, dot: &DotName, user: UserId) -> Result<DotId, CliError> {
    let facts = database.dot_facts(dot, Some(user), None).await?;
    facts.dot.ok_or_else(|| CliError::NoSuchDot(dot.full()))
}
