//! TLS in the hub itself, for a hub without a TLS proxy.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, in files. The hub reads them again when they change, so a renewed certificate needs no
/// restart. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Arc<Mutex<Loaded>>,
}

struct Loaded {
    acceptor: TlsAcceptor,
    version: Version,
}

/// The modification times of the two files.
type Version = [Option<SystemTime>; 2];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read, or does not contain such a PEM item.
    #[error("cannot read {what} from {}", path.display())]
    Read {
        /// The kind of item: a certificate, or a private key.
        what: &'static str,
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    /// The file contains no certificate.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// The certificate and the key do not match, or their kind is not supported.
    #[error("the certificate in {} cannot be used with that key", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

impl Tls {
    /// Loads a certificate chain, the hub's own certificate first, and its private key. All are in PEM format.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let version = version(certificate, key);
        let acceptor = acceptor(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            loaded: Arc::new(Mutex::new(Loaded { acceptor, version })),
        })
    }

    /// Returns the acceptor for the next connection. If a new certificate cannot be used, the hub logs that and keeps
    /// the old one.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version(&self.certificate, &self.key);
        if loaded.version != version {
            // Remember the version after a failure too. So the error is logged once, until the files change again.
            loaded.version = version;
            match acceptor(&self.certificate, &self.key) {
                Ok(acceptor) => {
                    loaded.acceptor = acceptor;
                    tracing::info!("the certificate was read again");
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "cannot use the new certificate; the old one goes on");
                }
            }
        }
        loaded.acceptor.clone()
    }
}

fn version(certificate: &Path, key: &Path) -> Version {
    let written = |path: &Path| -> io::Result<SystemTime> { path.metadata()?.modified() };
    [written(certificate).ok(), written(key).ok()]
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Read { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("certificates", certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable("a private key", key))?;
    // Clients of stores and databases use the same provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let config = config.map_err(|source| TlsError::Unusable {
        path: certificate.to_owned(),
        source,
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
