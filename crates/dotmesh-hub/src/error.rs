//! The errors of routes and pages: those of the services, and those that only HTTP has. `response.rs` turns them into HTTP
//! responses.

mod response;

use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_hub_service::HubError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// A service failed, or refused the request.
    #[error(transparent)]
    Hub(HubError),
    /// Another site made the browser send the request.
    #[error("this request did not come from the hub's own pages")]
    CrossOrigin,
    /// No route has this address.
    #[error("this hub has nothing at this address")]
    NoSuchAddress,
    /// The route exists, but not for this method.
    #[error("this address does not accept this HTTP method")]
    WrongMethod,
    /// The dot has another name now. Only pages redirect. Other clients find the dot by its former name.
    #[error("this has moved to {to}")]
    Moved { to: String },
    /// The client stopped sending.
    #[error("the request body did not arrive in time")]
    Slow,
    /// The page would be too large.
    #[error("this page is too large for the hub to send")]
    LongPage,
    /// The page could not be rendered.
    #[error("a page could not be made")]
    Page(#[source] askama::Error),
}

impl<E: Into<HubError>> From<E> for HttpError {
    fn from(error: E) -> Self {
        Self::Hub(error.into())
    }
}

impl HttpError {
    /// Returns an error for a malformed request.
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Hub(HubError::malformed(reason))
    }

    /// Returns the body that the client gets.
    fn body(&self) -> ErrorBody {
        let (code, hint) = match self {
            Self::Hub(error) => return error.body(),
            Self::CrossOrigin => (
                ErrorCode::Forbidden,
                Some("go to the hub's page and do it there"),
            ),
            Self::NoSuchAddress => (
                ErrorCode::NotFound,
                Some(
                    "check the address; if the client has another version than the hub, update one of them: `GET /api/v1/version`",
                ),
            ),
            Self::Moved { .. } => (ErrorCode::NotFound, None),
            Self::WrongMethod | Self::Slow => (ErrorCode::Invalid, None),
            Self::LongPage => (
                ErrorCode::TooLarge,
                Some("use the API, which sends the data in parts"),
            ),
            Self::Page(_) => {
                let message = "the hub failed, and has logged why";
                return ErrorBody::new(ErrorCode::Internal, message);
            }
        };
        let body = ErrorBody::new(code, self.to_string());
        match hint {
            Some(hint) => body.hint(hint),
            None => body,
        }
    }
}
