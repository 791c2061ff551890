//! `dm branch`

use dotmesh_api::NodeClient;
use dotmesh_api::node::{BranchDetail, DeleteBranch, DotDetail, LogQuery, RenameBranch};
use dotmesh_model::{BranchName, CommitId, DotName, message};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::Result;
use crate::output::{Answer, Human, answer};
use crate::paint;
use crate::ui::Ui;

/// List the branches of the current dot, rename one, or delete one
///
/// A star marks the branch that is checked out. 'dm checkout -b' creates branches.
///
/// A branch is deleted only if it is not checked out and no container uses it. Its commits can still be named by their ids.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the newest commit of each branch
    #[arg(short = 'v', conflicts_with_all = ["delete", "force_delete", "rename"])]
    with_commits: bool,

    /// Delete a branch whose commits other branches have, and that has no uncommitted changes
    #[arg(
        short = 'd',
        long,
        value_name = "BRANCH",
        conflicts_with = "force_delete"
    )]
    delete: Option<BranchName>,

    /// Delete a branch even if that loses commits or uncommitted changes
    #[arg(short = 'D', value_name = "BRANCH")]
    force_delete: Option<BranchName>,

    /// Give a branch another name. With one name, the branch that is checked out gets it
    #[arg(
        short = 'm',
        long = "move",
        value_names = ["BRANCH", "NAME"],
        num_args = 1..=2,
        conflicts_with_all = ["delete", "force_delete"]
    )]
    rename: Vec<BranchName>,
}

/// The branches of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Branches {
    /// The dot.
    pub dot: DotName,
    /// The branch that is checked out.
    pub current: BranchName,
    /// The branches, sorted by name.
    pub branches: Vec<Branch>,
    /// Whether people see the newest commits.
    #[serde(skip)]
    pub with_commits: bool,
}

/// A branch of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Branch {
    /// The branch.
    #[serde(flatten)]
    pub branch: BranchDetail,
    /// The title of its newest commit. Only with `-v`, and only if there is a commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// A deleted branch.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// The dot.
    pub dot: DotName,
    /// The branch that was deleted.
    pub branch: BranchName,
    /// Its newest commit, which can still be named by its id.
    pub head: CommitId,
}

/// A renamed branch.
#[derive(Debug, Serialize, ToSchema)]
pub struct Renamed {
    /// The dot.
    pub dot: DotName,
    /// The former name.
    pub from: BranchName,
    /// The new name.
    pub to: BranchName,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    if let Some(to) = args.rename.last() {
        let from = (args.rename.len() == 2).then(|| &args.rename[0]);
        return rename(context, from, to).await.map(answer);
    }
    match (args.delete, args.force_delete) {
        (Some(branch), _) => delete(context, branch, false).await.map(answer),
        (_, Some(branch)) => delete(context, branch, true).await.map(answer),
        _ => list(context, args.with_commits).await.map(answer),
    }
}

async fn list(context: &Context, with_commits: bool) -> Result<Branches> {
    let detail = context
        .on_current_dot(async |node, dot| Ok(node.dot(dot).await?))
        .await?;
    let titles = match with_commits {
        true => titles(&context.node()?, &detail).await?,
        false => vec![None; detail.branches.len()],
    };
    let branches = detail.branches.into_iter().zip(titles);
    Ok(Branches {
        dot: detail.summary.name,
        current: detail.summary.branch,
        branches: branches
            .map(|(branch, title)| Branch { branch, title })
            .collect(),
        with_commits,
    })
}

async fn delete(context: &Context, branch: BranchName, force: bool) -> Result<Deleted> {
    let delete = DeleteBranch { branch, force };
    let (dot, head) = context
        .on_current_dot(async |node, dot| {
            let removed = node.delete_branch(dot, &delete).await?;
            Ok((dot.clone(), removed.head))
        })
        .await?;
    Ok(Deleted {
        dot,
        branch: delete.branch,
        head,
    })
}

async fn rename(context: &Context, from: Option<&BranchName>, to: &BranchName) -> Result<Renamed> {
    let (dot, from) = context
        .on_current_dot(async |node, dot| {
            let from = match from {
                Some(from) => from.clone(),
                None => node.current(dot).await?.branch,
            };
            let rename = RenameBranch {
                from,
                to: to.clone(),
            };
            node.rename_branch(dot, &rename).await?;
            Ok((dot.clone(), rename.from))
        })
        .await?;
    context.update_node_config(|config| {
        if config.previous.get(&dot) == Some(&from) {
            config.previous.insert(dot.clone(), to.clone());
        }
    })?;
    let to = to.clone();
    Ok(Renamed { dot, from, to })
}

/// The titles of the branches' newest commits, in the order of the branches.
async fn titles(node: &NodeClient, dot: &DotDetail) -> Result<Vec<Option<String>>> {
    let mut titles = Vec::new();
    for branch in &dot.branches {
        let query = LogQuery::one(Some(branch.name.as_str()));
        let log = node.log(&dot.summary.name, &query).await?;
        let newest = log.commits.first();
        titles.push(newest.map(|commit| message::title(&commit.message).into_owned()));
    }
    Ok(titles)
}

impl Branches {
    /// A line for each branch, with the newest commits if they are wanted.
    pub fn text(&self) -> String {
        let lines = self.branches.iter().map(|Branch { branch, title }| {
            let mark = if branch.name == self.current {
                '*'
            } else {
                ' '
            };
            let mut row = vec![format!("{mark} {}", branch.name)];
            if self.with_commits {
                row.push(branch.head.short());
                row.push(title.clone().unwrap_or_else(|| "no commits yet".to_owned()));
            }
            row
        });
        crate::table::aligned(&lines.collect::<Vec<_>>())
    }
}

impl Human for Branches {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.painted(&self.text(), paint::current)
    }
}

impl Human for Deleted {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&self.text());
        Ok(())
    }
}

impl Deleted {
    /// What was deleted, and how to make it again.
    pub fn text(&self) -> String {
        let Self { dot, branch, head } = self;
        let done = format!("Deleted branch {branch} of dot {dot}");
        if *head == CommitId::ROOT {
            return done;
        }
        let head = head.short();
        format!("{done} (was {head}; 'dm checkout -b {branch} {head}' makes it again)")
    }
}

impl Human for Renamed {
    fn show(&self, ui: &Ui) -> Result<()> {
        let Self { dot, from, to } = self;
        ui.status(&format!(
            "Branch '{from}' of dot '{dot}' is called '{to}' now"
        ));
        Ok(())
    }
}
