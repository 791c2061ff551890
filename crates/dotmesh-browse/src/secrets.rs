//! Finds files that look like secrets in commits, by their names.

use std::collections::HashSet;

use dotmesh_model::ObjectHash;
use dotmesh_model::secret_names::{PEM_LENGTH, Suspicion, has_private_key, suspicion};
use dotmesh_store::{Entry, Inode, InodeKind, Node, TreeNode};

use crate::content::FileBytes;
use crate::entries::Part;
use crate::path::shown;
use crate::{ReadError, Source, TreePath, TreeReader};

/// Tree pages that are read together.
const PAGES_AT_ONCE: usize = 32;

/// The number of paths that are listed.
const SHOWN: usize = 10;

/// The files found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspects {
    /// Their number.
    pub count: usize,
    /// The paths of the first few, for people.
    pub first: Vec<String>,
}

impl<S: Source> TreeReader<S> {
    /// Searches the commits with these roots, and reads at most `pages` tree pages. A folder that several commits share
    /// is searched once.
    pub async fn suspects(
        &self,
        roots: &[ObjectHash],
        pages: usize,
    ) -> Result<Suspects, ReadError<S::Error>> {
        let mut found = Suspects::default();
        let mut seen = HashSet::new();
        let mut waiting = Vec::new();
        for root in roots {
            let tree = self.root(*root).await?.tree;
            if seen.insert(tree) {
                waiting.push((TreePath::default(), Part::top(tree)));
            }
        }
        let mut read = 0;
        while !waiting.is_empty() && read < pages {
            let batch = waiting.split_off(waiting.len().saturating_sub(PAGES_AT_ONCE));
            read += batch.len();
            let hashes: Vec<ObjectHash> = batch.iter().map(|(_, part)| part.hash).collect();
            let nodes = self.tree_nodes(&hashes).await?;
            for ((folder, part), node) in batch.into_iter().zip(nodes) {
                part.check(&node)?;
                match node {
                    TreeNode::Inner { level, children } => {
                        let below = Part::below(level, children);
                        waiting.extend(below.map(|part| (folder.clone(), part)));
                    }
                    TreeNode::Leaf(entries) => {
                        for entry in entries {
                            let path = folder.join(&entry.name);
                            if self.is_suspect(&entry).await? {
                                found.count += 1;
                                if found.first.len() < SHOWN {
                                    found.first.push(shown(&path.to_bytes()));
                                }
                            }
                            if let Node::Inode(Inode {
                                kind: InodeKind::Directory { tree },
                                ..
                            }) = entry.node
                                && seen.insert(tree)
                            {
                                waiting.push((path, Part::top(tree)));
                            }
                        }
                    }
                }
            }
        }
        found.first.sort();
        Ok(found)
    }

    async fn is_suspect(&self, entry: &Entry) -> Result<bool, ReadError<S::Error>> {
        let file = match &entry.node {
            Node::HardLink { .. } => None,
            Node::Inode(inode) => match FileBytes::of(inode) {
                None => return Ok(false),
                file => file,
            },
        };
        match (suspicion(entry.name.as_bytes()), file) {
            (Suspicion::None, _) => Ok(false),
            (Suspicion::Secret, _) => Ok(true),
            // The file's first name has been judged, or will be.
            (Suspicion::PerhapsKey, None) => Ok(false),
            (Suspicion::PerhapsKey, Some(file)) => {
                Ok(has_private_key(&self.beginning(file, PEM_LENGTH).await?))
            }
        }
    }
}
