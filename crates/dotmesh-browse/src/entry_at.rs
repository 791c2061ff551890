//! Finds the entry at a path of a commit.

use dotmesh_model::ObjectHash;
use dotmesh_store::{EntryName, EntryValue, Inode, InodeKind, TreePage};

use crate::entries::Part;
use crate::{ReadError, TreeError, TreePath, TreeReader, TreeSource};

/// The entry that a path leads to.
#[derive(Debug, Clone)]
pub struct FoundEntry {
    pub inode: Inode,
    /// The file's first path, if the path is another hard link of it.
    pub first: Option<TreePath>,
}

impl<S: TreeSource> TreeReader<S> {
    /// Returns the entry at a path. Symlinks are not followed.
    pub async fn entry_at(
        &self,
        root: ObjectHash,
        path: &TreePath,
    ) -> Result<FoundEntry, ReadError<S::Error>> {
        let missing = || TreeError::NoSuchPath { path: path.clone() };
        let value = self.value_at(root, path).await?.ok_or_else(missing)?;
        let (inode, first) = self.inode_of(root, value).await?;
        Ok(FoundEntry {
            inode: inode.ok_or_else(missing)?,
            first,
        })
    }

    /// Returns the inode of an entry. For a hard link, returns the linked file's inode, or `None` if there is no such
    /// file.
    pub(crate) async fn inode_of(
        &self,
        root: ObjectHash,
        value: EntryValue,
    ) -> Result<(Option<Inode>, Option<TreePath>), ReadError<S::Error>> {
        let first = match value {
            EntryValue::Inode(inode) => return Ok((Some(inode), None)),
            EntryValue::HardLink { first } => TreePath::from_bytes(&first)?,
        };
        let inode = match self.value_at(root, &first).await? {
            Some(EntryValue::Inode(inode)) if matches!(inode.kind, InodeKind::File { .. }) => {
                Some(inode)
            }
            _ => None,
        };
        Ok((inode, Some(first)))
    }

    /// Returns the entry at a path.
    async fn value_at(
        &self,
        root: ObjectHash,
        path: &TreePath,
    ) -> Result<Option<EntryValue>, ReadError<S::Error>> {
        let root = self.root(root).await?;
        let mut value = EntryValue::Inode(Inode {
            attributes: root.attributes,
            kind: InodeKind::Directory { tree: root.tree },
        });
        for name in path.names() {
            let EntryValue::Inode(Inode {
                kind: InodeKind::Directory { tree },
                ..
            }) = value
            else {
                return Ok(None);
            };
            match self.value_in(tree, name).await? {
                Some(found) => value = found,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// Returns the entry of a name in a directory.
    pub(crate) async fn value_in(
        &self,
        tree: ObjectHash,
        name: &EntryName,
    ) -> Result<Option<EntryValue>, ReadError<S::Error>> {
        let mut part = Part::top(tree);
        // Levels descend, so the loop ends.
        loop {
            let page = self.tree_page(part.hash).await?;
            part.check(&page)?;
            match page {
                TreePage::Leaf(mut entries) => {
                    let at = entries.binary_search_by(|entry| entry.name.cmp(name));
                    return Ok(at.ok().map(|at| entries.swap_remove(at).value));
                }
                TreePage::Inner {
                    level,
                    mut children,
                } => {
                    let at = children.partition_point(|child| child.last < *name);
                    if at == children.len() {
                        return Ok(None);
                    }
                    let child = vec![children.swap_remove(at)];
                    match Part::below(level, child).next() {
                        Some(below) => part = below,
                        None => return Ok(None),
                    }
                }
            }
        }
    }
}
