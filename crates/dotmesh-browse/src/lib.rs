//! Reads the content of a commit: its folders and files, its differences from another commit, and statistics.
//!
//! The objects come from a [`TreeSource`], such as a hub's pack store. The readers trust none of them. The hub checks on a
//! push that references are complete, but not that several tree pages or file pages agree with each other. So the
//! readers check this.

pub mod archive;
pub mod content;
pub mod diff;
pub mod entries;
pub mod entry_at;
pub mod facts;
pub mod file_type;
pub mod growth;
pub mod path;
pub mod renames;
pub mod secrets;
pub mod text_diff;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FilePage, InvalidObject, Kind, Root, TreePage};

pub use path::TreePath;

/// Why the content of a commit cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The commit has no entry at the path.
    #[error("there is no {path} in this commit")]
    NoSuchPath { path: TreePath },
    /// The path is not a folder, but a folder was requested.
    #[error("{path} is not a folder")]
    NotAFolder { path: TreePath },
    /// The path is not a file, but a file was requested.
    #[error("{path} is not a file")]
    NotAFile { path: TreePath },
    /// The text is not a valid path.
    #[error("the address contains an invalid file path")]
    BadPath,
    /// The pushed objects contradict each other.
    #[error("the commit cannot be read: its object {hash} contradicts other objects")]
    Inconsistent { hash: ObjectHash },
    /// The dot should have the object.
    #[error("the object {hash} is missing")]
    Missing { hash: ObjectHash },
    /// The object was valid when the hub accepted it.
    #[error("the stored object {hash} is malformed")]
    Malformed {
        hash: ObjectHash,
        #[source]
        source: InvalidObject,
    },
}

/// Why reading failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The content is not as requested, or not consistent.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The source failed.
    #[error("{0}")]
    Source(E),
}

/// Where the objects of commits are read from. Cheap to clone.
pub trait TreeSource: Clone + Send + Sync + 'static {
    /// Why the source fails.
    type Error: Send + 'static;

    /// Returns objects of a kind in the order of `hashes`, each verified against its hash and then decoded.
    ///
    /// An object that the source lacks is [`TreeError::Missing`]. An object of another kind is
    /// [`TreeError::Inconsistent`].
    fn objects<T: Send + 'static>(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
        decode: impl Fn(ObjectHash, Bytes) -> Result<T, TreeError> + Send + 'static,
    ) -> impl Future<Output = Result<Vec<T>, ReadError<Self::Error>>> + Send;
}

/// Reads commits from a source. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TreeReader<S>(S);

impl<S: TreeSource> TreeReader<S> {
    /// Creates a reader.
    pub fn new(source: S) -> Self {
        Self(source)
    }

    /// Returns the source.
    pub fn source(&self) -> &S {
        &self.0
    }

    /// Returns a commit's root directory.
    pub async fn root(&self, root: ObjectHash) -> Result<Root, ReadError<S::Error>> {
        self.page(Kind::Root, root, Root::decode).await
    }

    async fn tree_page(&self, hash: ObjectHash) -> Result<TreePage, ReadError<S::Error>> {
        self.page(Kind::TreePage, hash, TreePage::decode).await
    }

    async fn tree_pages(
        &self,
        hashes: &[ObjectHash],
    ) -> Result<Vec<TreePage>, ReadError<S::Error>> {
        self.pages(Kind::TreePage, hashes, TreePage::decode).await
    }

    async fn file_page(&self, hash: ObjectHash) -> Result<FilePage, ReadError<S::Error>> {
        self.page(Kind::FilePage, hash, FilePage::decode).await
    }

    async fn file_pages(
        &self,
        hashes: &[ObjectHash],
    ) -> Result<Vec<FilePage>, ReadError<S::Error>> {
        self.pages(Kind::FilePage, hashes, FilePage::decode).await
    }

    async fn chunks(&self, hashes: &[ObjectHash]) -> Result<Vec<Bytes>, ReadError<S::Error>> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let decode = |_, bytes| Ok(bytes);
        self.0.objects(Kind::Chunk, hashes, decode).await
    }

    async fn page<T: Send + 'static>(
        &self,
        kind: Kind,
        hash: ObjectHash,
        decode: fn(&[u8]) -> Result<T, InvalidObject>,
    ) -> Result<T, ReadError<S::Error>> {
        let mut pages = self.pages(kind, &[hash], decode).await?;
        Ok(pages.pop().ok_or(TreeError::Missing { hash })?)
    }

    async fn pages<T: Send + 'static>(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
        decode: fn(&[u8]) -> Result<T, InvalidObject>,
    ) -> Result<Vec<T>, ReadError<S::Error>> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let decode = move |hash, bytes: Bytes| {
            decode(&bytes).map_err(|source| TreeError::Malformed { hash, source })
        };
        self.0.objects(kind, hashes, decode).await
    }
}
