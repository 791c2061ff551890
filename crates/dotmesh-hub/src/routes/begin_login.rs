//! `POST /api/v1/logins`: a program asks for a key, which a user approves at `/-/authorize`. Needs no login.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::{BeginLogin, DeviceLogin};
use dotmesh_hub_db::attempts::AttemptLimit;
use dotmesh_hub_db::device_logins::{DEVICE_LOGIN_LIFETIME, NewDeviceLogin};
use dotmesh_hub_model::credentials::{Token, UserCode};
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::{Hub, HubError};
use jiff::SignedDuration;

use crate::error::HttpError;
use crate::extract::{parse_open_json, read_body};
use crate::openapi::OfAnyone;
use crate::pages::authorize;

const MAX_BODY_LENGTH: usize = 1024;

/// The most characters of a machine's name that are kept.
const MAX_CLIENT_LENGTH: usize = 64;

/// Seconds that a program is asked to wait between two questions.
const INTERVAL: u64 = 2;

/// Logins that one address may begin.
const LIMIT: AttemptLimit = AttemptLimit {
    attempts: 20,
    within: SignedDuration::from_mins(10),
};

/// Logins that all together may begin: they take space until they end.
const LIMIT_OF_ALL: AttemptLimit = AttemptLimit {
    attempts: 10_000,
    within: SignedDuration::from_mins(10),
};

/// Starts a login.
///
/// A program asks for an API key. Its user approves the request at `verification_path`.
#[utoipa::path(
    post,
    path = "/logins",
    operation_id = "begin_login",
    tag = "logins",
    security(()),
    request_body = BeginLogin,
    responses((status = 201, description = "The login waits for its user.", body = DeviceLogin), OfAnyone),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    address: ClientAddress,
    body: Body,
) -> Result<(StatusCode, Json<DeviceLogin>), HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let BeginLogin { client } = parse_open_json(&body)?;
    let now = hub.clock.now();
    for (subject, limit) in [
        (format!("login from {}", address.network()), LIMIT),
        ("login from anywhere".to_owned(), LIMIT_OF_ALL),
    ] {
        if !hub.database.attempt(&subject, limit, now).await? {
            return Err(HubError::TooMany { what: "new logins" }.into());
        }
    }
    let (device, code) = (
        Token::generate(&hub.random),
        UserCode::generate(&hub.random),
    );
    let login = NewDeviceLogin {
        device: &device.digest(),
        code: &code.digest(),
        client: &shown(&client),
        address: &address.to_string(),
    };
    hub.database.begin_device_login(&login, now).await?;
    let answer = DeviceLogin {
        device_code: device.reveal().to_owned(),
        verification_path: authorize::PATH.to_owned(),
        user_code: code.to_string(),
        interval: INTERVAL,
        expires_in: DEVICE_LOGIN_LIFETIME.as_secs().unsigned_abs(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A machine's name as it may be shown: the one who says it may be anybody.
fn shown(client: &str) -> String {
    let plain = client
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(MAX_CLIENT_LENGTH);
    let name = plain.collect::<String>().trim().to_owned();
    if name.is_empty() {
        "an unnamed machine".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_name_shows_nothing_but_itself() {
        assert_eq!(shown("laptop.example.com"), "laptop.example.com");
        assert_eq!(shown(" \u{202e}evil\u{1b}[31m\n"), "evil[31m");
        assert_eq!(shown("\u{200b}"), "an unnamed machine");
        assert_eq!(shown(&"x".repeat(900)).len(), 64);
    }
}
