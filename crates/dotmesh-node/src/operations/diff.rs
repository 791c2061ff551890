//! `dm diff`: compares two states of a dot, file by file.

use std::path::Path;

use dotmesh_api::node::{ChangeKind, Diff, FileChange, FileKind};
use dotmesh_model::volume::Folder;
use dotmesh_model::{CommitId, StashId};
use dotmesh_sync::compare::read_small;
use dotmesh_sync::{EntryType, Look, PathChange, What, compare};
use serde::Deserialize;
use utoipa::IntoParams;

use super::revision::Revisions;
use super::{blocking, require_here, stash};
use crate::error::NodeError;
use crate::node::Node;
use crate::view::At;

/// The maximum number of changes in a response.
const MOST_CHANGES: usize = 10_000;

/// The maximum size in bytes of a text that is compared by line, and of all line differences together.
const MOST_TEXT: u64 = 256 << 10;
const MOST_TEXT_IN_ALL: usize = 4 << 20;

/// The states to compare.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Request {
    /// The older state as a revision. Default: the head.
    pub(crate) from: Option<String>,
    /// The newer state as a revision. Default: the working copy.
    pub(crate) to: Option<String>,
    /// Limits the comparison to this path and what is below it.
    pub(crate) path: Option<String>,
    /// Compares this stash with its commit, instead of `from` and `to`.
    pub(crate) stash: Option<StashId>,
    /// Whether to compare texts by line.
    #[serde(default)]
    pub(crate) text: bool,
}

/// Compares the two states.
pub(crate) async fn diff(
    node: &Node,
    at: impl Into<At>,
    request: Request,
) -> Result<Diff, NodeError> {
    let dot = node.settled_view(&at.into()).await?;
    let name = &dot.name;
    let revisions = Revisions::of(node, &dot).await?;
    let find = async |text: &str| -> Result<CommitId, NodeError> {
        let commit = revisions.find_text(text)?;
        require_here(node, &dot, commit).await?;
        Ok(commit)
    };
    let stash = match request.stash {
        Some(id) => Some(stash::find(node, name, id).await?.1),
        None => None,
    };
    let from = match (&stash, &request.from) {
        (Some(stash), _) => stash.head,
        (None, Some(text)) => find(text).await?,
        (None, None) => revisions.head,
    };
    let to = match &request.to {
        Some(text) if stash.is_none() => Some(find(text).await?),
        _ => None,
    };
    let old = node.pool.commit_data(name, from);
    let new = match (&stash, to) {
        (Some(stash), _) => node.pool.stash_data(name, stash.id),
        (None, Some(commit)) => node.pool.commit_data(name, commit),
        (None, None) => node.pool.volume_path(name, &dot.here, &Folder::Root),
    };
    let (changes, more) = blocking(move || changes(&old, &new, &request)).await?;
    Ok(Diff {
        from,
        to,
        changes,
        more,
    })
}

fn changes(old: &Path, new: &Path, request: &Request) -> Result<(Vec<FileChange>, u64), NodeError> {
    let mut found = compare(old, new, Look::AtBytes)?;
    if let Some(path) = &request.path {
        found.retain(|change| is_below(&change.path, path.trim_matches('/').as_bytes()));
    }
    let more = found.len().saturating_sub(MOST_CHANGES);
    found.truncate(MOST_CHANGES);
    let mut room = MOST_TEXT_IN_ALL;
    let changes = found.iter().map(|change| {
        let mut told = told(change);
        if request.text && change.kind == EntryType::File {
            told.unified = unified(old, new, change, &told).filter(|text| text.len() <= room);
            room -= told.unified.as_ref().map_or(0, String::len);
        }
        told
    });
    Ok((changes.collect(), more as u64))
}

fn is_below(path: &[u8], top: &[u8]) -> bool {
    let rest = path.strip_prefix(top);
    top.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn told(change: &PathChange) -> FileChange {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let (what, from) = match &change.what {
        What::Added => (ChangeKind::Added, None),
        What::Removed => (ChangeKind::Removed, None),
        What::Modified => (ChangeKind::Modified, None),
        What::Moved { from } => (ChangeKind::Moved, Some(text(from))),
    };
    FileChange {
        path: text(&change.path),
        kind: match change.kind {
            EntryType::File => FileKind::File,
            EntryType::Directory => FileKind::Directory,
            EntryType::Symlink => FileKind::Symlink,
            EntryType::Other => FileKind::Other,
        },
        change: what,
        from,
        before: change.before,
        after: change.after,
        unified: None,
    }
}

/// The differing lines as a unified diff, if both sides are texts.
fn unified(old: &Path, new: &Path, change: &PathChange, told: &FileChange) -> Option<String> {
    let text = |folder: &Path, path: &[u8]| {
        let bytes = read_small(folder, path, MOST_TEXT)?;
        let text = String::from_utf8(bytes).ok()?;
        (!text.contains('\0')).then_some(text)
    };
    let path_before = match &change.what {
        What::Moved { from } => from,
        _ => &change.path,
    };
    let is_added = change.what == What::Added;
    let is_removed = change.what == What::Removed;
    let before = if is_added {
        Some(String::new())
    } else {
        text(old, path_before)
    }?;
    let after = if is_removed {
        Some(String::new())
    } else {
        text(new, &change.path)
    }?;
    let header = |is_there: bool, side: char, path: &str| match is_there {
        true => format!("{side}/{path}"),
        false => "/dev/null".to_owned(),
    };
    let name_before = told.from.as_ref().unwrap_or(&told.path);
    let compared = similar::TextDiff::from_lines(&before, &after);
    let mut unified = compared.unified_diff();
    unified.header(
        &header(!is_added, 'a', name_before),
        &header(!is_removed, 'b', &told.path),
    );
    Some(unified.to_string())
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_path_is_a_folder_and_no_beginning_of_a_name() {
        assert!(is_below(b"db/pages/1", b"db"));
        assert!(is_below(b"db", b"db"));
        assert!(is_below(b"db/pages/1", b""));
        assert!(!is_below(b"db2/pages/1", b"db"));
        assert!(!is_below(b"other", b"db"));
    }
}
