//! Finds proxy and certificate variables that `dm` has, but the daemon lacks. The daemon is what connects to hubs.

use dotmesh_api::{ErrorCode, NodeClient};

use crate::commands::cluster::service;
use crate::context::Context;
use crate::error::{CliError, Code};

const PROXIES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// If the daemon could not reach a hub, adds hints about variables that it lacks.
pub async fn advise(context: &Context, node: &NodeClient, hub: &str, error: CliError) -> CliError {
    if error.code() != Code::Server(ErrorCode::Unreachable)
        || context.environment.network.is_empty()
    {
        return error;
    }
    let version = node.version().await.ok();
    // An older daemon does not report its variables.
    let Some(known) = version.and_then(|version| version.network) else {
        return error;
    };
    let missing = missing(&context.environment.network, &known, hub);
    let service = service::has_systemd() && service::has_unit();
    hints(&missing, service)
        .into_iter()
        .fold(error, CliError::hint)
}

/// The variables of `dm` that the daemon lacks and needs for this hub.
pub fn missing(ours: &[String], known: &[String], hub: &str) -> Vec<String> {
    let other = match hub.starts_with("http://") {
        true => "HTTPS_PROXY",
        false => "HTTP_PROXY",
    };
    let has = |names: &[String], of: &[&str]| {
        names
            .iter()
            .any(|name| name != other && of.contains(&name.as_str()))
    };
    let (proxied, proxy) = (has(known, &PROXIES), has(ours, &PROXIES));
    let certified = hub.starts_with("http://") || has(known, &CERTIFICATES);
    let needs = |name: &String| match name.as_str() {
        name if name == other => false,
        "NO_PROXY" => !known.contains(name) && (proxied || proxy),
        name if CERTIFICATES.contains(&name) => !certified,
        _ => !proxied,
    };
    ours.iter().filter(|name| needs(name)).cloned().collect()
}

/// The hints: how to give the missing variables to the daemon.
pub fn hints(missing: &[String], service: bool) -> Vec<String> {
    if missing.is_empty() {
        return Vec::new();
    }
    let (names, pattern) = (missing.join(", "), missing.join("|"));
    let file = service::ENVIRONMENT_FILE;
    let folder = file.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let restart = match service {
        true => "sudo systemctl restart dotmeshd",
        false => "sudo dm cluster reset && sudo dm cluster init",
    };
    vec![
        format!(
            "Your shell has {names}, but the daemon does not, and the daemon is what connects to hubs."
        ),
        format!(
            "Give it to the daemon:\n  sudo mkdir -p {folder}\n  env | grep -iE '^({pattern})=' | \
             sudo tee -a {file} >/dev/null\n  {restart}"
        ),
    ]
}
