//! Parts of messages.

use dotmesh_model::DotName;
use dotmesh_model::size::format_size;

pub(super) fn older(count: usize) -> String {
    match count {
        1 => "1 older commit".to_owned(),
        count => format!("{count} older commits"),
    }
}

pub(super) fn whereabouts(now: Option<&DotName>) -> String {
    match now {
        Some(now) => format!("is called {} now", now.full()),
        None => "is gone, or you may not see it".to_owned(),
    }
}

/// The first digits of a dot's id.
pub(super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// For example `2 commits that no other branch has, and 1.00 MiB uncommitted`
pub(super) fn lost(commits: usize, dirty: u64) -> String {
    let commits = match commits {
        0 => None,
        1 => Some("1 commit that no other branch has".to_owned()),
        many => Some(format!("{many} commits that no other branch has")),
    };
    let dirty = (dirty > 0).then(|| format!("{} uncommitted", format_size(dirty)));
    let lost: Vec<String> = commits.into_iter().chain(dirty).collect();
    lost.join(", and ")
}
