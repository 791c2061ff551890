//! In which order a directory is made: directory by directory, each before those in it; then the hard links,
//! whose files exist by then; then the directories' own attributes, the innermost first.

use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, EntryName, FileContent, Inode, InodeKind, Node, Root};

use super::MaterialiseError;
use super::content::{self, Edits};
use super::pipeline::{DirectoryId, Pipeline, Step};
use super::trees::{Change, Trees};
use crate::objects::ObjectSource;

/// The lists of segments of so many files are looked up together,
const FILES: usize = 256;

/// or of files that have so many bytes.
const FILES_LENGTH: u64 = 1 << 40;

/// A file to write.
#[derive(Debug)]
pub(super) struct FileChange {
    pub(super) directory: DirectoryId,
    pub(super) name: EntryName,
    pub(super) attributes: Attributes,
    pub(super) size: u64,
    pub(super) content: FileContent,
    /// What is there already, to be changed in place: other names of the file then see the change, as
    /// they must. A name that shall no longer be, or become, such a name is removed and made anew.
    pub(super) base: Option<(u64, FileContent)>,
}

/// Turns the two trees into steps.
pub(super) async fn produce<S: ObjectSource>(
    source: &Arc<S>,
    trees: &Trees,
    base: Option<ObjectHash>,
    target: Root,
    pipeline: &mut Pipeline<S>,
) -> Result<(), MaterialiseError> {
    let mut plan = Plan {
        directories: vec![target.attributes],
        links: Vec::new(),
        files: Vec::new(),
        below: vec![(DirectoryId::ROOT, base, target.tree)],
    };
    while let Some((directory, base, target)) = plan.below.pop() {
        let first_below = plan.below.len();
        for change in trees.changes((base, target))? {
            for step in plan.change(directory, change) {
                pipeline.push(step).await?;
            }
            let length = plan
                .files
                .iter()
                .fold(0, |sum: u64, file| sum.saturating_add(file.size));
            if plan.files.len() >= FILES || length >= FILES_LENGTH {
                write_files(source, &mut plan.files, pipeline).await?;
            }
        }
        // The stack gives them back in the order of their names.
        plan.below[first_below..].reverse();
    }
    write_files(source, &mut plan.files, pipeline).await?;
    for link in plan.links {
        pipeline.push(link).await?;
    }
    for (index, attributes) in plan.directories.into_iter().enumerate().rev() {
        let directory = DirectoryId(index);
        pipeline
            .push(Step::SetAttributes {
                directory,
                attributes,
            })
            .await?;
    }
    pipeline.finish().await
}

struct Plan {
    /// The attributes that each directory gets at the end, by its id.
    directories: Vec<Attributes>,
    links: Vec<Step>,
    files: Vec<FileChange>,
    /// Directories that are still to be looked into.
    below: Vec<(DirectoryId, Option<ObjectHash>, ObjectHash)>,
}

impl Plan {
    /// The steps that can be taken at once; the others are put by.
    fn change(&mut self, directory: DirectoryId, change: Change) -> Vec<Step> {
        let Change { name, base, target } = change;
        let in_place = matches!((&base, &target), (Some(base), Some(target)) if fits(base, target));
        let mut steps = Vec::new();
        if base.is_some() && !in_place {
            steps.push(Step::Remove {
                directory,
                name: name.clone(),
            });
        }
        let base = base.filter(|_| in_place);
        match target {
            None => {}
            Some(Node::HardLink { first }) => {
                self.links.push(Step::Link {
                    directory,
                    name,
                    first,
                });
            }
            Some(Node::Inode(Inode {
                attributes,
                kind: InodeKind::Directory { tree },
            })) => {
                let id = DirectoryId(self.directories.len());
                self.directories.push(attributes);
                let base = base.as_ref().and_then(tree_of);
                steps.push(Step::Enter {
                    parent: directory,
                    name,
                    create: base.is_none(),
                });
                self.below.push((id, base, tree));
            }
            Some(Node::Inode(Inode {
                attributes,
                kind: InodeKind::File { size, content },
            })) => {
                let base = base.as_ref().and_then(file_of);
                self.files.push(FileChange {
                    directory,
                    name,
                    attributes,
                    size,
                    content,
                    base,
                });
            }
            Some(Node::Inode(inode)) => {
                steps.push(Step::Special {
                    directory,
                    name,
                    inode,
                    create: base.is_none(),
                });
            }
        }
        steps
    }
}

/// Whether what is there can be made into what shall be without being made anew.
fn fits(base: &Node, target: &Node) -> bool {
    let (Node::Inode(base), Node::Inode(target)) = (base, target) else {
        return false;
    };
    match (&base.kind, &target.kind) {
        (InodeKind::File { .. }, InodeKind::File { .. })
        | (InodeKind::Directory { .. }, InodeKind::Directory { .. })
        | (InodeKind::Fifo, InodeKind::Fifo) => true,
        (InodeKind::Symlink { target: base }, InodeKind::Symlink { target }) => base == target,
        _ => false,
    }
}

fn tree_of(node: &Node) -> Option<ObjectHash> {
    match node {
        Node::Inode(Inode {
            kind: InodeKind::Directory { tree },
            ..
        }) => Some(*tree),
        _ => None,
    }
}

fn file_of(node: &Node) -> Option<(u64, FileContent)> {
    match node {
        Node::Inode(Inode {
            kind: InodeKind::File { size, content },
            ..
        }) => Some((*size, *content)),
        _ => None,
    }
}

/// Writes files in their order.
async fn write_files<S: ObjectSource>(
    source: &Arc<S>,
    files: &mut Vec<FileChange>,
    pipeline: &mut Pipeline<S>,
) -> Result<(), MaterialiseError> {
    let mut edits = Edits::look_up(source, files).await?;
    for (index, file) in files.drain(..).enumerate() {
        let FileChange {
            directory,
            name,
            attributes,
            size,
            base,
            ..
        } = file;
        let base_size = base.map(|(size, _)| size);
        pipeline
            .push(Step::Open {
                directory,
                name,
                size,
                base_size,
            })
            .await?;
        while let Some(some) = edits.next(source, index).await? {
            for content::Edit { offset, segment } in some {
                pipeline.push(Step::Write { offset, segment }).await?;
            }
        }
        pipeline.push(Step::Close { attributes }).await?;
    }
    Ok(())
}
