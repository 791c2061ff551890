//! Plans the steps that make a directory, in three passes:
//! - directories and files,
//! - hard links, because their files exist by then,
//! - attributes of directories, the innermost first.
//!
//! Each pass walks through the pages again, so it need not remember anything of the one before.

use std::sync::Arc;

use dotmesh_store::{Attributes, EntryValue, Inode, InodeKind, Root};

use super::MaterialiseError;
use super::apply::Site;
use super::content::{Contents, Edits};
use super::directory::{Directory, Place};
use super::file::File;
use super::pages::Pages;
use super::pipeline::{Pipeline, Step};
use super::trees::{Comparison, EntryChange, Pair, attributes_of, file_of, tree_of};
use crate::objects::ObjectSource;

/// The purpose of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Removes entries, makes directories, and writes everything in them except hard links.
    Entries,
    /// Makes hard links.
    Links,
    /// Sets the attributes of directories.
    Attributes,
}

/// The next item of the walk.
enum Next {
    Into(Arc<Directory>, Pair, Attributes),
    OutOf(Arc<Directory>, Attributes),
}

/// One walk through everything that differs. The survey has already fetched all pages.
pub(super) struct Plan<'a, S> {
    pub(super) source: &'a Arc<S>,
    pub(super) pages: &'a mut Pages,
    pub(super) site: &'a Site,
    pub(super) pass: Pass,
    pub(super) pipeline: &'a mut Pipeline<S>,
}

impl<S: ObjectSource> Plan<'_, S> {
    pub(super) async fn walk(
        &mut self,
        top: Arc<Directory>,
        base: Option<&Root>,
        target: &Root,
    ) -> Result<(), MaterialiseError> {
        let pair = Pair {
            base: base.map(|base| base.tree),
            target: target.tree,
        };
        let mut stack = vec![Next::Into(top, pair, target.attributes.clone())];
        while let Some(next) = stack.pop() {
            match next {
                Next::OutOf(directory, attributes) => {
                    let step = Step::SetAttributes {
                        directory,
                        attributes,
                    };
                    self.pipeline.push(step).await?;
                }
                Next::Into(directory, pair, attributes) => {
                    if self.pass == Pass::Attributes {
                        stack.push(Next::OutOf(Arc::clone(&directory), attributes));
                    }
                    let first_below = stack.len();
                    self.directory(&directory, pair, &mut stack).await?;
                    // The stack returns the directories in the order of their names.
                    stack[first_below..].reverse();
                }
            }
        }
        Ok(())
    }

    async fn directory(
        &mut self,
        directory: &Arc<Directory>,
        pair: Pair,
        below: &mut Vec<Next>,
    ) -> Result<(), MaterialiseError> {
        let mut comparison = Comparison::new(pair.base, Some(pair.target));
        comparison.descend(self.pages)?;
        let mut changes = comparison.changes();
        while let Some(change) = changes.next(self.pages)? {
            let place = match change.base {
                None => Place::Free,
                Some(_) if change.in_place() => Place::Ours,
                Some(_) => Place::Taken,
            };
            if let (Some(target), Some(attributes)) = (
                tree_of(change.target.as_ref()),
                attributes_of(change.target.as_ref()),
            ) {
                let base = attributes_of(change.base.as_ref()).filter(|_| place == Place::Ours);
                let has = base
                    .into_iter()
                    .chain(self.site.resumed.then_some(attributes));
                let made = self.pass != Pass::Entries || place == Place::Ours;
                let entered = directory.below(change.name.clone(), place, made, has);
                if !made {
                    let directory = Arc::clone(&entered);
                    self.pipeline.push(Step::Make { directory }).await?;
                }
                let pair = Pair {
                    base: tree_of(change.base.as_ref()),
                    target,
                };
                below.push(Next::Into(entered, pair, attributes.clone()));
                continue;
            }
            match self.pass {
                Pass::Entries => self.entry(directory, place, change).await?,
                Pass::Links => {
                    let directory = Arc::clone(directory);
                    if let Some(EntryValue::HardLink { first }) = change.target {
                        let name = change.name;
                        let step = Step::Link {
                            directory,
                            name,
                            first,
                        };
                        self.pipeline.push(step).await?;
                    }
                }
                Pass::Attributes => {}
            }
        }
        Ok(())
    }

    /// Plans the steps for a name that is not a directory.
    async fn entry(
        &mut self,
        directory: &Arc<Directory>,
        place: Place,
        change: EntryChange,
    ) -> Result<(), MaterialiseError> {
        let EntryChange { name, base, target } = change;
        match target {
            Some(EntryValue::Inode(Inode {
                attributes,
                kind: InodeKind::File { size, content },
            })) => {
                let same_as = match content {
                    dotmesh_store::FileContent::Chunk(hash)
                    | dotmesh_store::FileContent::Page(hash)
                        if place != Place::Ours && self.site.local.has_content(hash) =>
                    {
                        Some(hash)
                    }
                    _ => None,
                };
                let contents = Contents {
                    base: file_of(base.as_ref()).filter(|_| place == Place::Ours),
                    target: Some((size, content)),
                };
                let file = File::new(directory, name, place, attributes, size, same_as);
                self.file(file, contents).await
            }
            Some(EntryValue::Inode(inode)) => {
                let step = Step::Special {
                    directory: Arc::clone(directory),
                    name,
                    place,
                    inode,
                };
                self.pipeline.push(step).await
            }
            // A later pass makes hard links, but whatever has their name is removed now.
            Some(EntryValue::HardLink { .. }) | None if base.is_some() => {
                let directory = Arc::clone(directory);
                self.pipeline.push(Step::Remove { directory, name }).await
            }
            Some(EntryValue::HardLink { .. }) | None => Ok(()),
        }
    }

    async fn file(&mut self, file: File, contents: Contents) -> Result<(), MaterialiseError> {
        let file = Arc::new(file);
        let mut edits = Edits::look_up(self.source, self.pages, &[contents]).await?;
        let mut last = Vec::new();
        while let Some(some) = edits.next(self.pages, 0)? {
            let before = std::mem::replace(&mut last, some);
            if !before.is_empty() {
                self.pipeline.write(&file, before, false).await?;
            }
        }
        self.pipeline.write(&file, last, true).await
    }
}
