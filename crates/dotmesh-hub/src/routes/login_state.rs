//! `POST /api/v1/logins/token`: what became of a login. The code that was given for it is the login.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use dotmesh_api::hub::{DeviceCode, LoginState};
use dotmesh_hub_db::device_logins::DeviceLoginState;
use dotmesh_hub_model::credentials::{ApiKey, KeyDigest};
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::{Hub, HubError};
use jiff::Timestamp;

use crate::error::HttpError;
use crate::extract::{parse_open_json, read_body};
use crate::openapi::OfAnyone;

const MAX_BODY_LENGTH: usize = 1024;

/// Shows the state of a login.
///
/// The hub sends the key once. While the login is pending, ask again after `interval` seconds.
#[utoipa::path(
    post,
    path = "/logins/token",
    operation_id = "get_login_state",
    tag = "logins",
    security(()),
    request_body = DeviceCode,
    responses((status = 200, description = "The state of the login.", body = LoginState), OfAnyone),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    address: ClientAddress,
    body: Body,
) -> Result<Json<LoginState>, HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let DeviceCode { device_code } = parse_open_json(&body)?;
    let device = KeyDigest::of(&device_code);
    let key = ApiKey::generate(&hub.random);
    let now = hub.clock.now();
    let expires = hub.settings.login_key_lifetime().map(|lasts| now + lasts);
    let state = hub
        .database
        .device_login(&device, &key.digest(), expires, now)
        .await?;
    Ok(Json(match state {
        None => return Err(HubError::NoSuchLogin.into()),
        Some(DeviceLoginState::Pending) => LoginState::Pending,
        Some(DeviceLoginState::Denied) => LoginState::Denied,
        Some(DeviceLoginState::Approved(user)) => {
            tracing::info!(%user, "a program has logged in");
            audit::logged_in(
                &hub,
                user.as_str(),
                &address,
                "with a program, by `dm login`",
            )
            .await?;
            LoginState::Approved {
                user,
                key: key.reveal().to_owned(),
                expires: expires.map(Timestamp::as_second),
            }
        }
    }))
}
