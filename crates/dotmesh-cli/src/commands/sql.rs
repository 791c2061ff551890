//! `dm sql`

use std::io::{IsTerminal as _, Read as _};

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

/// Ask a commit's database anything
///
/// Runs statements with the client of the database's own image: psql, mariadb, mysql or redis-cli. SQLite is opened by the
/// node. The database is a copy, which is thrown away, so a commit can be asked anything, and nothing changes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit: HEAD~2, a branch, a tag, an id or its first digits
    #[arg(value_name = "REV")]
    revision: String,

    /// The database. Without its name, the one that the client takes by itself
    #[arg(value_name = "SUBDOT[/DATABASE]")]
    target: String,

    /// The statements [default: what stdin has]
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
    let statement = match args.statement {
        Some(statement) => statement,
        None => read()?,
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
                let message = "the node closed the connection before the client ended";
                Err(CliError::new(Code::NodeUnreachable, message).hint("The node's log says why."))
            };
            fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await
        })
        .await
}

/// Reads the statements from stdin.
fn read() -> Result<String> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(CliError::usage("there is no statement")
            .hint("Give one as the last word, or a file: dm sql REV SUBDOT < FILE"));
    }
    let mut text = String::new();
    stdin
        .read_to_string(&mut text)
        .map_err(|error| CliError::io("cannot read from standard input").caused_by(error))?;
    Ok(text)
}

impl Human for Asked {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}
