//! `dm doctor`

mod machine;
mod node;

use dotmesh_api::node::Checkup;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;
use crate::{network, table, transfer};

pub use machine::{Machine, membership};
pub use node::{daemon, hub, podman, report};

/// Check whether Dotmesh works on this machine, and say what to do
///
/// Looks at the kernel, the daemon, the group, the pool and the disk below it, Docker and Compose, the hubs of your remotes,
/// and proxies. Works without the daemon and without Docker, too. The exit status is 1 if a check fails. A warning does not
/// count as a failure.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    Warn,
    Fail,
}

/// One line of the doctor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// How well it is.
    pub level: Level,
    /// What was looked at.
    pub subject: &'static str,
    /// What was found.
    pub says: String,
    /// What to do about it.
    pub advice: Vec<String>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(subject: &'static str, says: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, says)
    }

    /// Something may become a problem.
    pub fn warn(subject: &'static str, says: impl Into<String>) -> Self {
        Self::new(Level::Warn, subject, says)
    }

    /// Something does not work.
    pub fn fail(subject: &'static str, says: impl Into<String>) -> Self {
        Self::new(Level::Fail, subject, says)
    }

    fn new(level: Level, subject: &'static str, says: impl Into<String>) -> Self {
        Self {
            level,
            subject,
            says: says.into(),
            advice: Vec::new(),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }
}

/// What the doctor found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Findings {
    /// One for each thing that was looked at.
    pub findings: Vec<Finding>,
}

pub(super) async fn run(context: &Context, _: Args) -> Result<Findings> {
    let findings = look(context).await;
    Ok(Findings { findings })
}

impl Human for Findings {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&render(&self.findings))
    }

    fn failure(&self) -> Option<CliError> {
        let findings = self.findings.iter();
        let message = match findings.filter(|one| one.level == Level::Fail).count() {
            0 => return None,
            1 => "1 check failed".to_owned(),
            many => format!("{many} checks failed"),
        };
        Some(CliError::new(Code::ChecksFailed, message))
    }
}

async fn look(context: &Context) -> Vec<Finding> {
    let remotes = match context.config.load() {
        Ok(config) => config.remotes,
        Err(error) => return vec![Finding::fail("config", error.message())],
    };
    let client = context.node();
    let version = match &client {
        Ok(client) => client.version().await.map_err(CliError::from),
        Err(error) => Err(error.clone()),
    };
    let machine = Machine::look(context, version.is_ok()).await;
    let mut findings = machine.findings();
    let socket = context.environment.socket();
    findings.push(daemon(version.as_ref(), socket, machine.is_member));
    let (Ok(client), Ok(version)) = (&client, &version) else {
        for subject in ["pool", "hub"] {
            findings.push(node::not_looked_at(subject));
        }
        findings.extend(machine.docker_findings(None));
        return findings;
    };
    let checkup = Checkup {
        hubs: remotes.values().map(transfer::login).collect(),
    };
    let (told, problems) = tokio::join!(client.checkup(&checkup), client.problems());
    match told {
        Ok(told) => {
            findings.extend(report(&told));
            findings.extend(machine::podman_finding(&told).await);
            findings.extend(machine.docker_findings(Some(&told)));
            let hubs = remotes.iter().zip(&told.hubs);
            findings.extend(hubs.map(|((name, remote), told)| hub(name, remote, told)));
            if remotes.is_empty() {
                findings.push(Finding::ok("hub", "no remotes; 'dm login HUB' makes one"));
            }
        }
        Err(error) => findings.push(Finding::fail("daemon", error.to_string())),
    }
    let problems = problems.unwrap_or_default().into_iter();
    findings.extend(problems.map(|problem| Finding::warn("daemon", problem)));
    let ours = &context.environment.network;
    let known = version.network.as_deref().unwrap_or_default();
    let hubs = remotes.values().map(|remote| remote.address.as_str());
    findings.push(network::finding(ours, known, hubs));
    findings
}

/// A line for each finding, and what to do below it.
pub fn render(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        vec![
            format!("{level:<4}"),
            finding.subject.to_owned(),
            finding.says.clone(),
        ]
    });
    let table = table::aligned(&rows.collect::<Vec<_>>());
    let mut text = String::new();
    for (line, finding) in table.lines().zip(findings) {
        text.push_str(line);
        text.push('\n');
        let advice = finding.advice.iter().flat_map(|advice| advice.lines());
        for line in advice {
            text.push_str(&format!("      {line}\n"));
        }
    }
    text
}
