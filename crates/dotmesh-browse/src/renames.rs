//! Detects renames: files that are gone under one name and new under another, with the same bytes.

use std::collections::HashMap;

use dotmesh_store::Inode;

use crate::TreePath;
use crate::content::FileBytes;
use crate::diff::{TreeChange, TreeChangeKind};

/// A file with another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    pub from: TreePath,
    pub to: TreePath,
    /// The inode under its new name.
    pub inode: Inode,
}

/// Moves renames out of the list of changes. If several files have the same bytes, they are matched in order. Empty
/// files are ignored, because they are all alike.
pub fn find_renames(changes: Vec<TreeChange>) -> (Vec<TreeChange>, Vec<Rename>) {
    let mut gone: HashMap<String, Vec<TreePath>> = HashMap::new();
    for change in changes.iter().rev() {
        if let (TreeChangeKind::Removed, Some(tag)) = (change.kind, tag(change.before.as_ref())) {
            gone.entry(tag).or_default().push(change.path.clone());
        }
    }
    let mut renames = Vec::new();
    for change in &changes {
        if let (TreeChangeKind::Added, Some(inode)) = (change.kind, &change.after)
            && let Some(from) = tag(Some(inode)).and_then(|tag| gone.get_mut(&tag)?.pop())
        {
            renames.push(Rename {
                from,
                to: change.path.clone(),
                inode: inode.clone(),
            });
        }
    }
    let is_moved = |change: &TreeChange| match change.kind {
        TreeChangeKind::Removed => renames.iter().any(|rename| rename.from == change.path),
        TreeChangeKind::Added => renames.iter().any(|rename| rename.to == change.path),
        TreeChangeKind::Changed | TreeChangeKind::Attributes => false,
    };
    let others = changes.into_iter().filter(|change| !is_moved(change));
    (others.collect(), renames)
}

/// Returns a name that identifies a file's bytes. `None` if it has none.
fn tag(inode: Option<&Inode>) -> Option<String> {
    let file = FileBytes::of(inode?)?;
    (file.size > 0).then(|| file.tag())
}

#[cfg(test)]
mod tests {
    use dotmesh_model::ObjectHash;
    use dotmesh_store::{Attributes, FileContent, InodeKind};
    use proptest::prelude::*;

    use super::*;

    fn change(number: usize, before: Option<u8>, after: Option<u8>) -> Option<TreeChange> {
        let inode = |content: u8| Inode {
            attributes: Attributes::default(),
            kind: InodeKind::File {
                size: content.into(),
                content: match content {
                    0 => FileContent::Empty,
                    content => FileContent::Chunk(ObjectHash::from_bytes([content; 32])),
                },
            },
        };
        let kind = match (before, after) {
            (None, None) => return None,
            (None, Some(_)) => TreeChangeKind::Added,
            (Some(_), None) => TreeChangeKind::Removed,
            (Some(before), Some(after)) if before == after => TreeChangeKind::Attributes,
            (Some(_), Some(_)) => TreeChangeKind::Changed,
        };
        Some(TreeChange {
            path: format!("uploads/{number:03}").parse().expect("a path"),
            kind,
            before: before.map(inode),
            after: after.map(inode),
        })
    }

    proptest! {
        #[test]
        fn all_is_told_once(files in prop::collection::vec((prop::option::of(0..4u8), prop::option::of(0..4u8)), 0..24)) {
            let changes: Vec<TreeChange> = files
                .iter()
                .enumerate()
                .filter_map(|(number, (before, after))| change(number, *before, *after))
                .collect();
            let (others, renames) = find_renames(changes.clone());
            let find = |path: &TreePath| changes.iter().find(|change| change.path == *path);
            for rename in &renames {
                let (from, to) = (find(&rename.from), find(&rename.to));
                prop_assert_eq!(from.map(|change| change.kind), Some(TreeChangeKind::Removed));
                prop_assert_eq!(to.and_then(|change| change.after.as_ref()), Some(&rename.inode));
                prop_assert_eq!(tag(from.and_then(|change| change.before.as_ref())), tag(Some(&rename.inode)));
            }
            // Each change is in one of the two lists, and no rename is left among the changes.
            prop_assert_eq!(others.len() + 2 * renames.len(), changes.len());
            let left = |kind, side: fn(&TreeChange) -> Option<&Inode>| -> Vec<String> {
                let of_kind = others.iter().filter(|change| change.kind == kind);
                of_kind.filter_map(|change| tag(side(change))).collect()
            };
            let gone = left(TreeChangeKind::Removed, |change| change.before.as_ref());
            let new = left(TreeChangeKind::Added, |change| change.after.as_ref());
            prop_assert!(gone.iter().all(|tag| !new.contains(tag)));
        }
    }
}
