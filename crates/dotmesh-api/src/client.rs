//! What the two clients share: sending a request and telling the ways in which it can fail apart.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::error::{ErrorBody, ErrorCode, Problem};
use crate::hub::PROTOCOL_VERSION;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server understood and said no.
    #[error(transparent)]
    Refused(#[from] ErrorBody),
    /// No answer came: nobody listens, the name is unknown, the connection was cut.
    #[error("cannot reach {server}")]
    Unreachable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    /// Something answered that is not the server it should be.
    #[error("{server} answered with something that is not Dotmesh's protocol (status {status})")]
    NotDotmesh { server: String, status: u16 },
    /// A hub that speaks another version of the protocol only.
    #[error(
        "{server} speaks version {theirs} of the hub protocol, and this Dotmesh version {PROTOCOL_VERSION}"
    )]
    OtherProtocol { server: String, theirs: u32 },
}

impl ClientError {
    /// For callers that branch on what went wrong.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) => error.code,
            Self::Unreachable { .. } | Self::NotDotmesh { .. } | Self::OtherProtocol { .. } => {
                ErrorCode::Unreachable
            }
        }
    }

    /// Whether TLS is spoken there, by someone whose certificate is not to be trusted.
    pub fn is_untrusted(&self) -> bool {
        let Self::Unreachable { source, .. } = self else {
            return false;
        };
        let mut at: Option<&(dyn std::error::Error + 'static)> = Some(source);
        while let Some(error) = at {
            if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
                return true;
            }
            // What an error of the system wraps is not among its sources.
            at = match error.downcast_ref().and_then(std::io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        false
    }

    /// What to do next, where only the client knows it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OtherProtocol { theirs, .. } if *theirs > PROTOCOL_VERSION => {
                Some("upgrade Dotmesh on this machine")
            }
            Self::OtherProtocol { .. } => Some("ask the hub's administrator to upgrade it"),
            Self::Refused(_) | Self::Unreachable { .. } | Self::NotDotmesh { .. } => None,
        }
    }
}

impl From<ClientError> for ErrorBody {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => error,
            other => {
                let mut message = other.to_string();
                let mut source = std::error::Error::source(&other);
                while let Some(cause) = source {
                    message = format!("{message}: {cause}");
                    source = cause.source();
                }
                let body = ErrorBody::new(ErrorCode::Unreachable, message);
                match other.hint() {
                    Some(hint) => body.hint(hint),
                    None => body,
                }
            }
        }
    }
}

/// Sends a request and returns the response if its status is a success.
pub(crate) async fn send(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<reqwest::Response, ClientError> {
    let response = request
        .send()
        .await
        .map_err(|source| unreachable(server, source))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response
        .bytes()
        .await
        .map_err(|source| unreachable(server, source))?;
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(ErrorBody::from(problem).into()),
        Err(_) => Err(ClientError::NotDotmesh {
            server: server.to_owned(),
            status: status.as_u16(),
        }),
    }
}

/// Sends a request whose response is JSON.
pub(crate) async fn json<T: DeserializeOwned>(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<T, ClientError> {
    let response = send(server, request).await?;
    let status = response.status().as_u16();
    let body = response
        .bytes()
        .await
        .map_err(|source| unreachable(server, source))?;
    serde_json::from_slice(&body).map_err(|_| ClientError::NotDotmesh {
        server: server.to_owned(),
        status,
    })
}

/// Sends a request whose response is bytes.
pub(crate) async fn bytes(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<Bytes, ClientError> {
    let response = send(server, request).await?;
    response
        .bytes()
        .await
        .map_err(|source| unreachable(server, source))
}

pub(crate) fn unreachable(server: &str, source: reqwest::Error) -> ClientError {
    ClientError::Unreachable {
        server: server.to_owned(),
        source: source.without_url(),
    }
}

/// A builder for HTTP clients with the one cryptography provider that Dotmesh uses.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("dotmesh/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(std::time::Duration::from_secs(10))
}
