//! `dm url`

use std::collections::BTreeSet;

use dotmesh_api::node::{Fork, ForkPort};
use dotmesh_model::BranchName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::forks;
use crate::output::Human;
use crate::ui::Ui;

/// Print the address of a service of a fork
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service [default: the only one with a published port, or the one that looks like a web server]
    #[arg(value_name = "SERVICE")]
    service: Option<String>,

    /// The fork [default: the one of this folder]
    #[arg(long, value_name = "NAME")]
    fork: Option<BranchName>,
}

/// The address of a service.
#[derive(Debug, Serialize, ToSchema)]
pub struct Address {
    /// The service.
    pub service: String,
    /// The port on this machine.
    pub port: u16,
    /// The address.
    pub url: String,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Address> {
    let node = context.node()?;
    let fork = forks::find(context, &node, args.fork.as_ref()).await?;
    let port = choose(&fork, args.service.as_deref())?;
    Ok(Address {
        service: port.service.clone(),
        port: port.port,
        url: forks::url(port),
    })
}

impl Human for Address {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&format!("{}\n", self.url))
    }
}

/// The services with a published port.
fn services(fork: &Fork) -> String {
    let names: BTreeSet<&str> = fork
        .ports
        .iter()
        .map(|port| port.service.as_str())
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// The port that is meant.
fn choose<'a>(fork: &'a Fork, service: Option<&str>) -> Result<&'a ForkPort> {
    let ports = fork.ports.iter().filter(|port| port.protocol == "tcp");
    let ports: Vec<&ForkPort> = ports
        .filter(|port| service.is_none_or(|service| port.service == service))
        .collect();
    // Ports on which web servers usually listen.
    let is_web = |port: u16| {
        matches!(
            port,
            80 | 443 | 3000 | 4200 | 5000 | 5173 | 8000 | 8080 | 8443
        )
    };
    let web = || {
        let mut web = ports.iter().filter(|port| is_web(port.target));
        web.next().filter(|_| web.next().is_none()).copied()
    };
    match (ports.as_slice(), service) {
        ([one], _) => Ok(one),
        ([], Some(service)) => Err(CliError::usage(format!(
            "service {service} of fork {} publishes no port",
            fork.branch
        ))
        .hint(match fork.ports.is_empty() {
            true => "No service of it does.".to_owned(),
            false => format!("These do: {}.", services(fork)),
        })),
        ([], None) => Err(CliError::usage(format!(
            "fork {} publishes no port",
            fork.branch
        ))),
        (several, _) => web().ok_or_else(|| {
            let names: Vec<String> = several
                .iter()
                .map(|port| format!("{}:{}", port.service, port.target))
                .collect();
            CliError::usage(format!(
                "fork {} publishes several ports: {}",
                fork.branch,
                names.join(", ")
            ))
            .hint("Name a service: dm url SERVICE. 'dm env' prints all of them.")
        }),
    }
}
