//! `dm tag`

use dotmesh_api::node::{DeleteTag, MakeTag, Tag};
use dotmesh_model::BranchName;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::message;

/// List the tags of the current dot, make one, or delete one
///
/// A tag is a name for one commit, and never moves. Every command that takes a commit accepts it. A push also sends the tags
/// of the pushed commits. A pull or a clone also gets the hub's tags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the commit and the message of each tag
    #[arg(short = 'n', conflicts_with_all = ["delete", "name"])]
    long: bool,

    /// Delete a tag; its commit stays, and so does the tag on hubs
    #[arg(short, long, value_name = "TAG", conflicts_with = "name")]
    delete: Option<BranchName>,

    /// A message for the tag; each further one is a paragraph
    #[arg(short, long, value_name = "MESSAGE", requires = "name")]
    message: Vec<String>,

    /// The new tag. It can have any name that git allows, such as v1.2
    #[arg(value_name = "NAME")]
    name: Option<BranchName>,

    /// The commit: HEAD~2, a branch, a tag, a commit's id or its first digits [default: HEAD]
    #[arg(value_name = "REV", requires = "name")]
    revision: Option<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    if let Some(name) = args.delete {
        let delete = DeleteTag { name };
        let deleted = context
            .on_current_dot(async |node, dot| Ok(node.delete_tag(dot, &delete).await?))
            .await?;
        context.ui.status(&gone(&deleted));
        return Ok(());
    }
    let Some(name) = args.name else {
        let tags = context
            .on_current_dot(async |node, dot| Ok(node.tags(dot).await?))
            .await?;
        return context.ui.out(&if args.long {
            render_long(&tags)
        } else {
            render(&tags)
        });
    };
    let message = message::join(&args.message);
    if message.is_empty() && !args.message.is_empty() {
        return Err(CliError::usage("the message of a tag is empty"));
    }
    let tag = MakeTag {
        name,
        revision: args.revision.unwrap_or_else(|| "HEAD".to_owned()),
        message,
    };
    let made = context
        .on_current_dot(async |node, dot| Ok(node.make_tag(dot, &tag).await?))
        .await?;
    let commit = made.commit.short();
    context
        .ui
        .status(&format!("Tagged commit {commit} as '{}'", made.name));
    Ok(())
}

/// Tells that a tag was deleted, and how to recreate it.
pub fn gone(tag: &Tag) -> String {
    let (name, commit) = (&tag.name, tag.commit.short());
    format!("Deleted tag '{name}' (was {commit}; 'dm tag {name} {commit}' makes it again)")
}

/// A line for each tag.
pub fn render(tags: &[Tag]) -> String {
    tags.iter().map(|tag| format!("{}\n", tag.name)).collect()
}

/// One line for each tag, with its commit and message.
pub fn render_long(tags: &[Tag]) -> String {
    let rows = tags.iter().map(|tag| {
        let title = dotmesh_model::message::title(&tag.message);
        vec![tag.name.to_string(), tag.commit.short(), title.into_owned()]
    });
    crate::table::aligned(&rows.collect::<Vec<_>>())
}
