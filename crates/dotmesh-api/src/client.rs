//! Shared code of the two clients: it sends a request, and tells the kinds of failure apart.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, LINK};
use serde::de::DeserializeOwned;

use crate::error::{ErrorBody, ErrorCode, Problem};
use crate::foreign::{self, Foreign};
use crate::hub::PROTOCOL_VERSION;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server understood the request and refused it.
    #[error(transparent)]
    Refused(Box<ErrorBody>),
    /// The server understood the request, and asks the client to try again later.
    #[error("{body}")]
    Later {
        body: Box<ErrorBody>,
        after: Option<Duration>,
    },
    /// No answer came: the server does not listen, its name is unknown, or the connection broke.
    #[error("cannot reach {server}")]
    Unreachable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    /// Another party answered: a proxy, a network's login page, or another server.
    #[error("{0}")]
    Foreign(Box<Foreign>),
    /// The answer does not follow Dotmesh's protocol.
    #[error("{server} answered with something that is not Dotmesh's protocol (status {status})")]
    NotDotmesh { server: String, status: u16 },
    /// The hub speaks only another version of the protocol.
    #[error(
        "{server} speaks version {theirs} of the hub protocol, and this Dotmesh version {PROTOCOL_VERSION}"
    )]
    OtherProtocol { server: String, theirs: u32 },
}

impl ClientError {
    /// The error code, for callers that branch on it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(body) | Self::Later { body, .. } => body.code,
            Self::Unreachable { .. }
            | Self::Foreign(_)
            | Self::NotDotmesh { .. }
            | Self::OtherProtocol { .. } => ErrorCode::Unreachable,
        }
    }

    /// Whether the same call may succeed later without a change by the user. Returns the time to wait.
    pub fn passes(&self) -> Option<Duration> {
        match self {
            Self::Later { after, .. } => Some(after.unwrap_or_default()),
            Self::Foreign(answer) if answer.is_transient() => {
                Some(answer.retry_after.unwrap_or_default())
            }
            Self::Unreachable { .. } if !self.is_untrusted() && !self.is_about_proxy_login() => {
                Some(Duration::ZERO)
            }
            _ => None,
        }
    }

    /// Whether the server may still be working on the call.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Foreign(answer) => answer.is_timeout(),
            Self::Unreachable { source, .. } => source.is_timeout() && !source.is_connect(),
            _ => false,
        }
    }

    /// Whether no connection was made, so the server got no request.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.is_connect())
    }

    /// Whether the proxy to the server requires a login before it connects.
    fn is_about_proxy_login(&self) -> bool {
        self.is_about("tunnel error: proxy authorization required")
    }

    /// Whether a cause contains this text. The errors of tunnels through proxies have no type of their own.
    fn is_about(&self, text: &str) -> bool {
        let Self::Unreachable { source, .. } = self else {
            return false;
        };
        let first: &(dyn std::error::Error + 'static) = source;
        std::iter::successors(Some(first), |error| error.source())
            .any(|error| error.to_string().contains(text))
    }

    /// Whether the server speaks TLS with a certificate that is not trusted.
    pub fn is_untrusted(&self) -> bool {
        let Self::Unreachable { source, .. } = self else {
            return false;
        };
        let mut at: Option<&(dyn std::error::Error + 'static)> = Some(source);
        while let Some(error) = at {
            if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
                return true;
            }
            // `source` skips the error inside an `io::Error`.
            at = match error.downcast_ref().and_then(std::io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        false
    }

    /// The next step for the user, if the client knows it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused(body) | Self::Later { body, .. } => return body.hint.clone(),
            Self::Foreign(answer) => return answer.hint(),
            Self::OtherProtocol { theirs, .. } if *theirs > PROTOCOL_VERSION => {
                "upgrade Dotmesh on this machine"
            }
            Self::OtherProtocol { .. } => "ask the hub's administrator to upgrade it",
            Self::Unreachable { .. } if self.is_about_proxy_login() => foreign::PROXY_LOGIN,
            Self::Unreachable { .. } if self.is_about("tunnel error: unsuccessful") => {
                "The proxy does not connect to the hub: ask its administrator, or have the hub reached without it, \
                 with --no-proxy of 'dotmeshd' or in the variable NO_PROXY."
            }
            Self::Unreachable { .. } if self.is_untrusted() => {
                "The hub's certificate is not trusted. Add the one of who issued it to the system's, or name its file \
                 in --ca-file of 'dotmeshd'."
            }
            Self::Unreachable { .. } | Self::NotDotmesh { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<ErrorBody> for ClientError {
    fn from(body: ErrorBody) -> Self {
        Self::Refused(Box::new(body))
    }
}

impl From<Foreign> for ClientError {
    fn from(answer: Foreign) -> Self {
        Self::Foreign(Box::new(answer))
    }
}

impl From<ClientError> for ErrorBody {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(body) | ClientError::Later { body, .. } => *body,
            other => {
                let mut message = other.to_string();
                let mut source = std::error::Error::source(&other);
                while let Some(cause) = source {
                    let cause_text = cause.to_string();
                    // These layers of the HTTP client say only that it failed.
                    let is_noise = ["error sending request", "client error (Connect)"]
                        .iter()
                        .any(|noise| cause_text.starts_with(noise));
                    if !is_noise {
                        message = format!("{message}: {cause_text}");
                    }
                    source = cause.source();
                }
                let body = ErrorBody::new(ErrorCode::Unreachable, message);
                match other.hint() {
                    Some(hint) => body.hint(hint),
                    None if matches!(other, ClientError::Unreachable { .. }) => {
                        body.hint("Check the host and the port, and that the hub runs.")
                    }
                    None => body,
                }
            }
        }
    }
}

/// Sends a request, and returns the response if its status is a success.
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
    let headers = response.headers().clone();
    let body = match whole(server, response).await {
        // The answer may come while the request is still being sent, and be cut off with it.
        Err(_) if status == StatusCode::PAYLOAD_TOO_LARGE => Bytes::new(),
        body => body?,
    };
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if matches!(status.as_u16(), 408 | 429 | 503) => Err(ClientError::Later {
            body: Box::new(problem.into()),
            after: foreign::retry_after(&headers),
        }),
        Ok(problem) => Err(ErrorBody::from(problem).into()),
        Err(_) => Err(ClientError::from(Foreign::new(
            server, status, &headers, &body,
        ))),
    }
}

/// Sends a request whose success has no body, and returns the headers. Any other success is not the server's, so
/// nothing was done.
pub(crate) async fn done(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<reqwest::header::HeaderMap, ClientError> {
    let response = send(server, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    if status == StatusCode::NO_CONTENT {
        return Ok(headers);
    }
    let body = whole(server, response).await?;
    let answer = Foreign::new(server, status, &headers, &body);
    Err(answer.into())
}

/// Sends a request that creates something. The answer has no body.
pub(crate) async fn created(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<(), ClientError> {
    let response = send(server, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    if status == StatusCode::CREATED {
        return Ok(());
    }
    let body = whole(server, response).await?;
    Err(Foreign::new(server, status, &headers, &body).into())
}

/// Sends a request, and reads a page of a JSON list. Also returns the query of the next page, if there is one.
pub(crate) async fn page<T: DeserializeOwned>(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<(Vec<T>, Option<String>), ClientError> {
    let response = send(server, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = whole(server, response).await?;
    let entries = serde_json::from_slice(&body)
        .map_err(|_| ClientError::from(Foreign::new(server, status, &headers, &body)))?;
    let link = headers.get(LINK).and_then(|link| link.to_str().ok());
    let next = link.and_then(|link| {
        let (_, query) = link.split_once('?')?;
        let (query, rest) = query.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| query.to_owned())
    });
    Ok((entries, next))
}

/// Sends a request, and reads a JSON response.
pub(crate) async fn json<T: DeserializeOwned>(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<T, ClientError> {
    let response = send(server, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = whole(server, response).await?;
    serde_json::from_slice(&body)
        .map_err(|_| ClientError::from(Foreign::new(server, status, &headers, &body)))
}

/// Sends a request, and reads a response of bytes.
pub(crate) async fn bytes(
    server: &str,
    request: reqwest::RequestBuilder,
) -> Result<Bytes, ClientError> {
    let response = send(server, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = whole(server, response).await?;
    match headers.get(CONTENT_TYPE) {
        Some(kind) if kind == "application/octet-stream" => Ok(body),
        _ => Err(ClientError::from(Foreign::new(
            server, status, &headers, &body,
        ))),
    }
}

async fn whole(server: &str, response: reqwest::Response) -> Result<Bytes, ClientError> {
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

/// A builder for HTTP clients with the only crypto provider that Dotmesh uses.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    // This fails only if a provider is installed already, which is equally good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("dotmesh/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(std::time::Duration::from_secs(10))
}
