//! `dm sql`

use std::io::IsTerminal as _;

use dotmesh_api::node::{RunSql, SqlEvent};
use dotmesh_model::DotName;
use futures::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::ui::Ui;

mod session;

/// Ask a commit's database anything
///
/// Runs statements with the client of the database's own image: psql, mariadb, mysql or redis-cli. SQLite is opened by the
/// node. The database is a copy, which is thrown away, so a commit can be asked anything, and nothing changes.
///
/// Without a statement it is a session on one copy: on a terminal with the client's prompts, else with the statements of
/// stdin, each as soon as its line is there. The copy is thrown away when the session ends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit: HEAD~2, a branch, a tag, an id or its first digits
    #[arg(value_name = "REV")]
    revision: String,

    /// The database. Without its name, the one that the client takes by itself
    #[arg(value_name = "SUBDOT[/DATABASE]")]
    target: String,

    /// The statements [default: a session that reads them from stdin]
    #[arg(value_name = "STATEMENT")]
    statement: Option<String>,
}

/// What the client printed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Asked {
    /// The dot.
    pub dot: DotName,
    /// The commit, as it was named.
    pub revision: String,
    /// The database, as it was named.
    pub target: String,
    /// The client's output.
    pub output: String,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Asked> {
    let Some(statement) = args.statement else {
        return session::run(context, &args.revision, &args.target).await;
    };
    let request = RunSql {
        revision: args.revision.clone(),
        target: args.target.clone(),
        statement,
    };
    let revisions = [args.revision.as_str()];
    let is_terminal = std::io::stdout().is_terminal();
    context
        .on_current_dot(async |node, dot| {
            let ask = async || {
                let events = node.sql(dot, &request).await?;
                let mut events = std::pin::pin!(events);
                let mut output = String::new();
                while let Some(event) = events.next().await {
                    match event? {
                        SqlEvent::Begin { .. } => {}
                        SqlEvent::Output(text) if context.ui.is_json() => output.push_str(&text),
                        // A terminal could execute what is in a database.
                        SqlEvent::Output(text) if is_terminal => context.ui.out(&text)?,
                        SqlEvent::Output(text) => context.ui.bytes(text.as_bytes())?,
                        SqlEvent::Done {} => {
                            return Ok(Asked {
                                dot: dot.clone(),
                                revision: args.revision.clone(),
                                target: args.target.clone(),
                                output,
                            });
                        }
                        SqlEvent::Failed(error) => return Err(error.into()),
                    }
                }
                Err(cut())
            };
            fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await
        })
        .await
}

fn cut() -> CliError {
    let message = "the node closed the connection before the client ended";
    CliError::new(Code::NodeUnreachable, message).hint("The node's log says why.")
}

impl Human for Asked {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}
