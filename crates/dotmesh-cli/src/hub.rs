//! Direct requests from `dm` to hubs, and the messages for their failures.

use dotmesh_api::{
    ClientError, ErrorBody, ErrorCode, HubAddress, HubClient, HubHost, HubVisitor, Network,
};

use crate::config::Remote;
use crate::context::Context;
use crate::error::{CliError, Result, root_cause};
use crate::ui::Ui;

/// Finds a hub. Checks that it is a Dotmesh hub before any secret is sent to it.
pub async fn find(context: &Context, host: HubHost) -> Result<HubVisitor> {
    let visitor = HubVisitor::find(host).await.map_err(explain)?;
    trace(context, "GET", visitor.address(), "version");
    visitor.version().await.map_err(explain)?;
    Ok(visitor)
}

/// The client for a remote's hub, with the remote's account.
pub fn client(remote: &Remote) -> Result<HubClient> {
    let network = Network::default();
    HubClient::through(&network, remote.hub()?, remote.hub_account()).map_err(explain)
}

/// Prints a request if `--verbose` is given.
pub fn trace(context: &Context, method: &str, hub: &HubAddress, route: &str) {
    if context.ui.is_verbose() {
        Ui::trace(&format!("{method} {hub}/api/v1/{route}"));
    }
}

/// Turns a failed request into an error for the user.
pub fn explain(error: ClientError) -> CliError {
    let untrusted = error.is_untrusted();
    match error {
        ClientError::Refused(body) if body.code == ErrorCode::Unauthorized => {
            CliError::new(ErrorCode::Unauthorized, "Permission denied. Please check that your API key is still valid.")
                .hint("A key belongs to one user on one hub, so check the user and the host too. 'dm login HOST' makes a new key.")
        }
        ClientError::Refused(body) | ClientError::Later { body, .. } => (*body).into(),
        ClientError::Foreign(answer) if answer.says_who() => {
            let error = CliError::new(ErrorCode::Unreachable, answer.to_string());
            answer.hint().into_iter().fold(error, CliError::hint)
        }
        // The server that listens there may be something else than a hub.
        ClientError::Foreign(answer) => {
            let (server, status) = (&answer.server, answer.status);
            let message =
                format!("{server} is not a Dotmesh hub (it answered with status {status})");
            let error = CliError::new(ErrorCode::Unreachable, message).hint("Check the host and the port.");
            answer.hint().into_iter().fold(error, CliError::hint)
        }
        ClientError::NotDotmesh { server, status } => {
            let message =
                format!("{server} is not a Dotmesh hub (it answered with status {status})");
            CliError::new(ErrorCode::Unreachable, message).hint("Check the host and the port.")
        }
        error @ ClientError::OtherProtocol { .. } => ErrorBody::from(error).into(),
        ClientError::Unreachable { server, source } => {
            let (_, reason) = root_cause(&source);
            let error = CliError::new(ErrorCode::Unreachable, format!("cannot reach {server}"));
            let error = error.because(reason);
            if untrusted {
                return error.hint("This machine does not trust the hub's certificate. Add its issuer's certificate to the system's.");
            }
            let error = error.hint("Check the host and the port, and that the hub runs.");
            if server.starts_with("https://") {
                error.hint("If the hub uses plain HTTP, and you trust the network, write http:// before the host.")
            } else {
                error
            }
        }
    }
}
