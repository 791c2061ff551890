//! The address of an object store: `file:///FOLDER` or `s3://BUCKET/PREFIX`.

use std::sync::Arc;

use dotmesh_store::{PackStore, PackStoreError};
use object_store::prefix::PrefixStore;
use url::Url;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreUrlError {
    /// The text is no address, or its scheme is not supported.
    #[error("'{url}' is not the address of a store: write file:///FOLDER or s3://BUCKET/PREFIX")]
    Unknown { url: String },
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] PackStoreError),
    /// The bucket's configuration is incomplete or invalid.
    #[error("cannot use {url} for packs")]
    Bucket {
        url: String,
        #[source]
        source: object_store::Error,
    },
}

/// Opens the store at an address. A folder must exist. A bucket is configured by the usual variables `AWS_…` in
/// `variables`.
pub fn open(
    url: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<PackStore, StoreUrlError> {
    let unknown = || StoreUrlError::Unknown {
        url: url.to_owned(),
    };
    let parsed = Url::parse(url).map_err(|_| unknown())?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| unknown())?;
            Ok(PackStore::local(&folder)?)
        }
        "s3" if parsed.has_host() => {
            // Fails only if a provider is installed already, which works as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let variables = variables.into_iter();
            let variables = variables.filter(|(name, _)| name.starts_with("AWS_"));
            let (store, prefix) =
                object_store::parse_url_opts(&parsed, variables).map_err(|source| {
                    StoreUrlError::Bucket {
                        url: url.to_owned(),
                        source,
                    }
                })?;
            Ok(PackStore::new(Arc::new(PrefixStore::new(store, prefix))))
        }
        _ => Err(unknown()),
    }
}
