//! The Docker volume driver: Docker's plugin protocol over a unix socket. Each call is one operation.
//!
//! Docker posts JSON under its own content type. For Docker a response with an `Err` is a failure, for Podman one whose
//! status is not 200. So a failure has both.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use dotmesh_api::ErrorBody;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::proof;
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::watch::STARTS_WITH_ROOM;
use crate::operations::{to_the_end, volume};
use crate::rootless::Caller;

/// All calls of the protocol.
pub(crate) fn router(node: Node) -> Router {
    Router::new()
        .route(ACTIVATE, post(activate))
        .route("/VolumeDriver.Capabilities", post(capabilities))
        .route("/VolumeDriver.Create", post(create))
        .route("/VolumeDriver.Remove", post(remove))
        .route("/VolumeDriver.Mount", post(mount))
        .route("/VolumeDriver.Unmount", post(unmount))
        .route("/VolumeDriver.Path", post(path))
        .route("/VolumeDriver.Get", post(get))
        .route("/VolumeDriver.List", post(list))
        .with_state(node)
}

/// The responses of a daemon without its pool: Docker can release volumes, but gets none.
pub(crate) fn refusing(error: ErrorBody) -> Router {
    let refused = move || {
        let error = error.clone();
        async { reply(Err(error.into())) }
    };
    Router::new()
        .route(ACTIVATE, post(activate))
        .route("/VolumeDriver.Capabilities", post(capabilities))
        .route("/VolumeDriver.Unmount", post(async || reply(Ok(json!({})))))
        .fallback(refused)
}

/// Docker asks once what a driver is, and remembers the answer.
const ACTIVATE: &str = "/Plugin.Activate";

async fn activate() -> Response {
    reply(Ok(json!({"Implements": ["VolumeDriver"]})))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Call {
    name: String,
    /// Docker's id for the mount.
    #[serde(default, rename = "ID")]
    id: String,
    #[serde(default)]
    opts: Option<serde_json::Map<String, Value>>,
}

/// Each node has its own volumes, so one name may mean another on another machine.
async fn capabilities() -> Response {
    reply(Ok(json!({"Capabilities": {"Scope": "local"}})))
}

async fn create(State(node): State<Node>, body: Bytes) -> Response {
    let created = async {
        let call = call(&body)?;
        if let Some(option) = call.opts.unwrap_or_default().keys().next() {
            let message = format!(
                "unknown volume option '{option}': the driver takes no options, only volume names like [NAMESPACE/]DOT[@BRANCH][.SUBDOT]"
            );
            return Err(ErrorBody::new(dotmesh_api::ErrorCode::Invalid, message).into());
        }
        volume::create(&node, &call.name).await
    };
    reply(created.await.map(|()| json!({})))
}

async fn remove(State(node): State<Node>, body: Bytes) -> Response {
    let removed = async { volume::remove(&node, &call(&body)?.name).await };
    reply(removed.await.map(|()| json!({})))
}

async fn mount(
    State(node): State<Node>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Response {
    let call = match call(&body) {
        Ok(call) => call,
        Err(error) => return reply(Err(error)),
    };
    // An aborted mount would stay half done.
    let mounted = to_the_end(async move {
        let path = volume::mount(&node, &call.name, &call.id, caller.rootless).await?;
        Ok(json!({"Mountpoint": path}))
    });
    reply(mounted.await.map_err(|error| {
        let mut error = ErrorBody::from(error);
        if error.code == dotmesh_api::ErrorCode::NoSpace {
            error.message = format!(
                "{}: {STARTS_WITH_ROOM} if its restart policy is always or unless-stopped",
                error.message
            );
        }
        error.into()
    }))
}

async fn unmount(State(node): State<Node>, body: Bytes) -> Response {
    let unmounted = to_the_end(async move {
        let call = call(&body)?;
        volume::unmount(&node, &call.name, &call.id).await
    });
    reply(unmounted.await.map(|()| json!({})))
}

async fn path(State(node): State<Node>, body: Bytes) -> Response {
    let found = async { volume::find(&node, &call(&body)?.name).await };
    reply(found.await.map(|path| json!({"Mountpoint": path})))
}

async fn get(State(node): State<Node>, body: Bytes) -> Response {
    let found = async {
        let name = call(&body)?.name;
        let path = volume::find(&node, &name).await?;
        // The daemon recognises its own volumes by this status, whatever Docker calls the driver.
        let status = json!({proof(node.pool.node()): {}});
        Ok(json!({"Volume": {"Name": name, "Mountpoint": path, "Status": status}}))
    };
    reply(found.await)
}

async fn list(State(node): State<Node>) -> Response {
    let listed = volume::list(&node).await.map(|volumes| {
        let volumes = volumes
            .iter()
            .map(|(name, path)| json!({"Name": name, "Mountpoint": path}));
        json!({"Volumes": volumes.collect::<Vec<_>>()})
    });
    reply(listed)
}

fn call(body: &[u8]) -> Result<Call, NodeError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("not a call of Docker's volume plugin protocol: {error}");
        ErrorBody::new(dotmesh_api::ErrorCode::Invalid, message).into()
    })
}

fn reply(result: Result<Value, NodeError>) -> Response {
    let status = match &result {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut body = match result {
        Ok(body) => body,
        Err(error) => {
            let error = ErrorBody::from(error);
            let hint = error
                .hint
                .map(|hint| format!(" ({hint})"))
                .unwrap_or_default();
            json!({"Err": format!("{}{hint}", error.message)})
        }
    };
    body.as_object_mut()
        .expect("all replies are objects")
        .entry("Err")
        .or_insert_with(|| json!(""));
    let kind = "application/vnd.docker.plugins.v1.1+json";
    let kind = [(axum::http::header::CONTENT_TYPE, kind)];
    (status, kind, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::json;

    use super::reply;
    use crate::error::NodeError;

    #[test]
    fn podman_knows_a_failure_by_its_status() {
        assert_eq!(reply(Ok(json!({}))).status(), StatusCode::OK);
        let failed = reply(Err(NodeError::NoVolume {
            name: "app".to_owned(),
        }));
        assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
