//! A few pictures of a commit, which show people what is in it. Only a part of the commit's folders is looked through, and
//! none of a database.

use std::collections::VecDeque;

use dotmesh_browse::TreePath;
use dotmesh_browse::content::FileBytes;
use dotmesh_browse::facts::CommitFacts;
use dotmesh_browse::file_type::{BEGINNING_LENGTH, FileType, MAX_SHOWN_IMAGE};
use dotmesh_hub_service::HubError;
use dotmesh_hub_service::operations::objects_of_dot::DotReader;
use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::InodeKind;

use super::tree_address::address;
use super::visit::DotHeader;

/// The most pictures, and the most folders and files that are looked at.
const MAX_PICTURES: usize = 6;
const MAX_FOLDERS: usize = 24;
const MAX_ENTRIES: usize = 200;
const MAX_FILES: usize = 24;

/// The names that pictures usually have. Only such files are read.
const ENDINGS: [&str; 7] = [".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".svg"];

/// A picture.
pub(crate) struct Picture {
    pub(crate) path: TreePath,
    /// The address of its page, and of the picture itself.
    pub(crate) page: String,
    pub(crate) raw: String,
}

/// Returns the first pictures of a commit. A page can do without them, so a failure means none.
pub(crate) async fn pictures(
    reader: &DotReader,
    dot: &DotHeader,
    commit: CommitId,
    root: ObjectHash,
    facts: &CommitFacts,
) -> Vec<Picture> {
    let paths = find(reader, root, facts).await.unwrap_or_default();
    let reference = commit.into();
    let picture = |path: TreePath| Picture {
        page: address(dot, "tree", &reference, &path),
        raw: address(dot, "raw", &reference, &path),
        path,
    };
    paths.into_iter().map(picture).collect()
}

async fn find(
    reader: &DotReader,
    root: ObjectHash,
    facts: &CommitFacts,
) -> Result<Vec<TreePath>, HubError> {
    let subdots = facts.subdots.iter();
    let mut waiting: VecDeque<TreePath> = subdots
        .filter(|subdot| !subdot.gone && !subdot.kind.is_database())
        .map(|subdot| subdot.name.clone())
        .collect();
    let (mut found, mut folders, mut files) = (Vec::new(), 0, 0);
    while let Some(folder) = waiting.pop_front() {
        folders += 1;
        if folders > MAX_FOLDERS {
            break;
        }
        let entry = reader.entry_at(root, &folder).await?;
        let InodeKind::Directory { tree } = entry.inode.kind else {
            continue;
        };
        for entry in reader.list(root, tree, 0, MAX_ENTRIES).await?.entries {
            let path = folder.join(&entry.name);
            if entry.is_folder() {
                if waiting.len() < MAX_FOLDERS {
                    waiting.push_back(path);
                }
                continue;
            }
            let name = entry.name.as_bytes().to_ascii_lowercase();
            let is_candidate = ENDINGS.iter().any(|end| name.ends_with(end.as_bytes()));
            let file = entry.inode.as_ref().and_then(FileBytes::of);
            let Some(file) = file.filter(|file| is_candidate && file.size <= MAX_SHOWN_IMAGE)
            else {
                continue;
            };
            files += 1;
            if files > MAX_FILES || found.len() == MAX_PICTURES {
                return Ok(found);
            }
            let beginning = reader.beginning(file, BEGINNING_LENGTH).await?;
            if let FileType::Image(_) = FileType::of(&entry.name, &beginning, file.size) {
                found.push(path);
            }
        }
    }
    Ok(found)
}
