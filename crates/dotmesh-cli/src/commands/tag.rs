//! `dm tag`

use dotmesh_api::node::{DeleteTag, MakeTag, Tag};
use dotmesh_model::{BranchName, DotName, InvalidName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::message;
use crate::output::Human;
use crate::output::{Answer, answer};
use crate::ui::Ui;

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
    #[arg(short, long, value_name = "TAG", conflicts_with = "name", value_parser = tag_name)]
    delete: Option<BranchName>,

    /// A message for the tag; each further one is a paragraph
    #[arg(short, long, value_name = "MESSAGE", requires = "name")]
    message: Vec<String>,

    /// The new tag. It can have any name that git allows, such as v1.2
    #[arg(value_name = "NAME", value_parser = tag_name)]
    name: Option<BranchName>,

    /// The commit: HEAD~2, a branch, a tag, a commit's id or its first digits [default: HEAD]
    #[arg(value_name = "REV", requires = "name")]
    revision: Option<String>,
}

/// Parses a tag's name, which follows the grammar of branch names.
fn tag_name(text: &str) -> std::result::Result<BranchName, String> {
    text.parse()
        .map_err(|error: InvalidName| error.to_string().replacen("branch name", "tag name", 1))
}

/// The tags of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tags {
    /// The dot.
    pub dot: DotName,
    /// The tags, sorted by name.
    pub tags: Vec<Tag>,
    /// Whether people see the commits and messages.
    #[serde(skip)]
    pub long: bool,
}

/// A new tag.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tagged {
    /// The dot.
    pub dot: DotName,
    /// The tag.
    pub tag: Tag,
}

/// A deleted tag.
#[derive(Debug, Serialize, ToSchema)]
pub struct Untagged {
    /// The dot.
    pub dot: DotName,
    /// The tag.
    pub tag: Tag,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    match (args.delete, args.name) {
        (Some(name), _) => delete(context, name).await.map(answer),
        (None, Some(name)) => {
            let message = message::join(&args.message);
            if message.is_empty() && !args.message.is_empty() {
                return Err(CliError::usage("the message of a tag is empty"));
            }
            let revision = args.revision.unwrap_or_else(|| "HEAD".to_owned());
            let tag = MakeTag {
                name,
                revision,
                message,
            };
            make(context, &tag).await.map(answer)
        }
        (None, None) => list(context, args.long).await.map(answer),
    }
}

async fn list(context: &Context, long: bool) -> Result<Tags> {
    context
        .on_current_dot(async |node, dot| {
            Ok(Tags {
                dot: dot.clone(),
                tags: node.tags(dot).await?,
                long,
            })
        })
        .await
}

async fn make(context: &Context, tag: &MakeTag) -> Result<Tagged> {
    context
        .on_current_dot(async |node, dot| {
            Ok(Tagged {
                dot: dot.clone(),
                tag: node.make_tag(dot, tag).await?,
            })
        })
        .await
}

async fn delete(context: &Context, name: BranchName) -> Result<Untagged> {
    let delete = DeleteTag { name };
    context
        .on_current_dot(async |node, dot| {
            Ok(Untagged {
                dot: dot.clone(),
                tag: node.delete_tag(dot, &delete).await?,
            })
        })
        .await
}

impl Human for Tags {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&if self.long {
            render_long(&self.tags)
        } else {
            render(&self.tags)
        })
    }
}

impl Human for Tagged {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (name, commit) = (&self.tag.name, self.tag.commit.short());
        ui.status(&format!("Tagged commit {commit} as '{name}'"));
        Ok(())
    }
}

impl Human for Untagged {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&gone(&self.tag));
        Ok(())
    }
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
