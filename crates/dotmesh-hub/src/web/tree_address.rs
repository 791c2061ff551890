//! Addresses of content in a commit: `/OWNER/DOT/KIND/REF/PATH`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use dotmesh_api::page::Reference;
use dotmesh_browse::TreePath;
use dotmesh_browse::path::decode;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::OpenDot;
use dotmesh_hub_service::operations::describe_commit::{CommitDetails, describe_with_data};
use dotmesh_hub_service::operations::objects_of_dot::{DotReader, reader};
use dotmesh_hub_service::operations::resolve_ref::resolve_ref;
use dotmesh_model::{DotName, ObjectHash};

use super::Visit;
use super::visit::DotHeader;
use crate::error::HttpError;
use crate::extract;

/// An address of content in a commit. It is parsed from the raw address, because only names in `PATH` may contain any
/// bytes.
#[derive(Debug, Clone)]
pub(crate) struct TreeAddress {
    pub(crate) dot: DotName,
    /// A branch, a tag or the prefix of a commit's id.
    pub(crate) reference: Reference,
    /// The path in the commit.
    pub(crate) path: TreePath,
}

impl<S: Send + Sync> FromRequestParts<S> for TreeAddress {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let mut segments = parts.uri.path().splitn(6, '/').skip(1);
        let mut next = || segments.next().unwrap_or_default();
        let (namespace, dot, _) = (next().parse()?, next(), next());
        let dot = DotName::new(namespace, dot)?;
        let reference = next();
        let decoded = decode(reference).and_then(|bytes| String::from_utf8(bytes).ok());
        let reference = extract::reference(&dot, decoded.as_deref().unwrap_or(reference))?;
        let path = match segments.next() {
            Some("") => return Err(HttpError::NoSuchAddress),
            path => path.unwrap_or_default().parse()?,
        };
        Ok(Self {
            dot,
            reference,
            path,
        })
    }
}

/// A commit that is opened for reading.
pub(crate) struct OpenCommit {
    pub(crate) dot: OpenDot,
    /// The top of the dot's pages.
    pub(crate) header: DotHeader,
    pub(crate) commit: CommitDetails,
    /// The reader of the commit's tree.
    pub(crate) reader: DotReader,
}

impl OpenCommit {
    /// Returns the commit's root directory.
    pub(crate) fn root(&self) -> ObjectHash {
        self.commit.root
    }
}

impl TreeAddress {
    /// Opens the commit, if the viewer may read it.
    pub(crate) async fn open(&self, hub: &Hub, visit: &Visit) -> Result<OpenCommit, HttpError> {
        let (dot, header) = visit.open(hub, &self.dot, Action::Read).await?;
        let commit = resolve_ref(hub, &dot, self.reference.as_str()).await?;
        let commit = describe_with_data(hub, &dot, commit).await?;
        let reader = reader(hub, dot.share(hub), dot.owner, dot.existing()?);
        Ok(OpenCommit {
            dot,
            header,
            commit,
            reader,
        })
    }
}

/// Returns the address of content in a commit: of a page, of raw bytes, or of an archive.
pub(crate) fn address(
    dot: &DotHeader,
    kind: &str,
    reference: &Reference,
    path: &TreePath,
) -> String {
    let slash = if path.is_root() { "" } else { "/" };
    let (dot, reference, path) = (dot.url(), reference.spelling(), path.address());
    format!("{dot}/{kind}/{reference}{slash}{path}")
}
