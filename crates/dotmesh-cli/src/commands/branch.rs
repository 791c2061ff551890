//! `dm branch`

use dotmesh_api::node::DotDetail;

use crate::context::Context;
use crate::error::Result;

/// List the branches of the current dot
///
/// The one that is checked out is marked with a star. 'dm checkout -b' makes new ones.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub(super) async fn run(context: &Context, _: Args) -> Result<()> {
    let dot = context
        .on_current_dot(async |node, dot| Ok(node.dot(dot).await?))
        .await?;
    context.ui.out(&render(&dot))
}

/// A line for each branch.
pub fn render(dot: &DotDetail) -> String {
    let mut text = String::new();
    for branch in &dot.branches {
        let mark = if branch.name == dot.summary.branch {
            '*'
        } else {
            ' '
        };
        text.push_str(&format!("{mark} {}\n", branch.name));
    }
    text
}
