//! What `dm` finds out by itself: the kernel, the group, and Docker's programs.

use std::process::Stdio;
use std::time::Duration;

use dotmesh_api::node::Report;

use super::{Finding, podman};
use crate::commands::cluster::machine::has_btrfs;
use crate::context::Context;

/// A program that takes longer counts as missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The group that may use the daemon.
const GROUP: &str = "dotmesh";

/// The machine, as this user sees it.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The kernel knows btrfs.
    pub btrfs: bool,
    /// `mkfs.btrfs` is there, or not needed any more.
    pub mkfs: bool,
    /// Whether the user may use the daemon: as root, or as a member of the group.
    pub is_member: bool,
    /// The user's number.
    pub uid: u32,
    /// What is wrong with the membership.
    pub group: Option<String>,
    /// The version of Docker's client, and of its Engine if this user reaches it.
    pub docker: Option<(String, Option<String>)>,
    /// The id of that Engine, and its security options.
    pub engine: Option<(String, String)>,
    /// The version of Compose.
    pub compose: Option<String>,
}

/// The version of Docker's plugin, else that of the program of its own.
async fn compose_version() -> Option<String> {
    match words("docker", &["compose", "version", "--short"]).await {
        None => words("docker-compose", &["version", "--short"]).await,
        version => version,
    }
}

impl Machine {
    /// Looks around.
    pub async fn look(context: &Context, daemon_runs: bool) -> Self {
        let docker = [
            "version",
            "--format",
            "{{.Client.Version}} {{with .Server}}{{.Version}}{{end}}",
        ];
        let engine = ["info", "--format", "{{.ID}} {{.SecurityOptions}}"];
        let (docker, engine, compose, btrfs) = tokio::join!(
            words("docker", &docker),
            words("docker", &engine),
            compose_version(),
            has_btrfs(),
        );
        let (is_member, group) = group(context.environment.user.as_deref());
        let uname = rustix::system::uname();
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            // A pool that is mounted proves it.
            btrfs: btrfs || daemon_runs,
            mkfs: daemon_runs || context.environment.find_program("mkfs.btrfs").is_some(),
            is_member,
            uid: rustix::process::getuid().as_raw(),
            group,
            docker: docker.and_then(|words| {
                let mut words = words.split_whitespace().map(str::to_owned);
                Some((words.next()?, words.next()))
            }),
            engine: engine.and_then(|words| {
                let (id, options) = words.split_once(' ')?;
                Some((id.to_owned(), options.to_owned()))
            }),
            compose,
        }
    }

    /// The kernel and the group.
    pub fn findings(&self) -> Vec<Finding> {
        let kernel = format!("Linux {}", self.kernel);
        let kernel = match (self.btrfs, self.mkfs) {
            (true, true) => Finding::ok("kernel", format!("{kernel}, with btrfs")),
            (true, false) => Finding::warn("kernel", format!("{kernel}, with btrfs and without mkfs.btrfs"))
                .advice("Install it: 'apt-get install btrfs-progs', or 'dnf install btrfs-progs'."),
            (false, _) => Finding::fail("kernel", format!("{kernel}, which has no btrfs"))
                .advice("RHEL, CentOS Stream, Rocky and Alma need another kernel, e.g. ELRepo's kernel-ml.")
                .advice("Others: install the kernel's extra modules, and load them with 'sudo modprobe btrfs'."),
        };
        let group = match &self.group {
            None => Finding::ok(
                "group",
                format!("you may use Dotmesh: as root, or by the group {GROUP}"),
            ),
            Some(problem) => Finding::warn("group", problem).advice(JOIN),
        };
        vec![kernel, group]
    }

    /// Docker's programs, as this user has them. The daemon has its own way to the Engine.
    pub fn docker_findings(&self, told: Option<&Report>) -> Vec<Finding> {
        let docker = match &self.docker {
            None => {
                let says = "the program docker is missing or does not answer";
                return vec![Finding::warn("docker", says).advice(
                    "Containers with dots need it: see https://docs.docker.com/engine/install/.",
                )];
            }
            Some((client, Some(engine))) => {
                let says = format!("client {client}, Engine {engine}");
                match told.and_then(|told| self.another_engine(told)) {
                    None => Finding::ok("docker", says),
                    Some(advice) => {
                        let says = format!("{says}, which is not the daemon's Engine");
                        advice
                            .iter()
                            .fold(Finding::warn("docker", says), Finding::advice)
                    }
                }
            }
            Some((client, None)) => {
                let says = format!("client {client}; the Engine does not answer you");
                Finding::warn("docker", says)
                    .advice("Start it with 'sudo systemctl start docker'. If it runs, you may lack the group docker.")
            }
        };
        let compose = match &self.compose {
            Some(version) => Finding::ok("compose", format!("version {version}")),
            None => Finding::warn(
                "compose",
                "there is neither the plugin 'docker compose' nor the program 'docker-compose'",
            )
            .advice(
                "Apps with a Compose file need one: see https://docs.docker.com/compose/install/.",
            ),
        };
        vec![docker, compose]
    }
}

impl Machine {
    /// What to do if the user's Engine is another one than the daemon's. Its containers get no dots.
    fn another_engine(&self, told: &Report) -> Option<Vec<String>> {
        let daemons = told.engine.as_ref()?.id.as_ref()?;
        let (id, options) = self.engine.as_ref()?;
        if id == daemons {
            return None;
        }
        if !options.contains("name=rootless") {
            return Some(vec![
                "Its containers get no dots. DOCKER_HOST and 'docker context ls' say which Engine it is.".to_owned(),
                "'docker context use default' chooses the machine's.".to_owned(),
            ]);
        }
        let user = self.uid;
        Some(vec![
            "It runs without root, and its containers get no dots.".to_owned(),
            "Let the daemon serve it instead of the other one: 'sudo dm cluster reset', then".to_owned(),
            format!("'sudo dm cluster init --docker-host unix:///run/user/{user}/docker.sock --docker-plugin /run/dotmesh/dm.sock'."),
            "Tell Docker where the driver is: 'echo unix:///run/dotmesh/dm.sock >~/.local/lib/docker/plugins/dm.spec'.".to_owned(),
            "Make that folder before, and restart Docker afterwards: 'systemctl --user restart docker'.".to_owned(),
        ])
    }
}

/// Asks Podman whether it knows the daemon's driver, if the daemon uses Podman.
pub(super) async fn podman_finding(told: &Report) -> Option<Finding> {
    let engine = told.engine.as_ref()?;
    let plugin = told.plugin.as_ref()?;
    if engine.name != "Podman" {
        return None;
    }
    let plugins = words("podman", &["info", "--format", "{{.Plugins.Volume}}"]).await;
    Some(podman(&plugin.driver, plugins.as_deref()))
}

/// How to become a member.
pub(super) const JOIN: &str =
    "Join with 'sudo usermod -aG dotmesh $USER', then log in again; until then, use sudo.";

/// Whether this process may use the daemon's socket, and what is wrong if not.
fn group(user: Option<&str>) -> (bool, Option<String>) {
    if rustix::process::geteuid().is_root() {
        return (true, None);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let ours: Vec<u32> = rustix::process::getgroups()
        .unwrap_or_default()
        .iter()
        .map(|group| group.as_raw())
        .collect();
    match membership(&groups, &ours, user) {
        None => (true, None),
        problem => (false, problem),
    }
}

/// What keeps a user out, by the text of `/etc/group` and the groups of the process.
pub fn membership(groups: &str, ours: &[u32], user: Option<&str>) -> Option<String> {
    let line = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == GROUP).then_some(fields)
    });
    let Some(mut fields) = line else {
        return Some(format!(
            "there is no group {GROUP}, so only root may use Dotmesh; 'sudo dm cluster init' makes it"
        ));
    };
    let id = fields.nth(1).and_then(|id| id.parse().ok());
    if id.is_some_and(|id| ours.contains(&id)) {
        return None;
    }
    let members = fields.next().unwrap_or_default();
    Some(
        match user.is_some_and(|user| members.split(',').any(|member| member == user)) {
            true => format!("you are in the group {GROUP}, but not in this session"),
            false => format!("you are not in the group {GROUP}"),
        },
    )
}

/// What a program prints; `None` if it prints nothing, whatever its exit status.
async fn words(program: &str, arguments: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
