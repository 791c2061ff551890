//! The blocks of shell commands that pages show for copying. Each block runs as it is shown, in a new shell.

use dotmesh_hub_service::operations::describe_commit::CommitDetails;
use dotmesh_model::{CodeAddress, DotName, Launch};

use super::visit::DotHeader;

/// The commands that run the app of a commit.
pub(crate) struct Run {
    /// The one command that does all of it. `None` if the commit lacks what it needs.
    pub(crate) at_once: Option<String>,
    /// The commands.
    pub(crate) lines: Vec<String>,
    /// Whether the commands clone the app's code too.
    pub(crate) gets_code: bool,
    /// Whether the commands start the app.
    pub(crate) starts: bool,
}

impl Run {
    /// Returns the commands for the commit at an address: get the code, clone the data, start the app.
    pub(crate) fn new(
        hub_url: &str,
        address: &str,
        dot: &DotHeader,
        commit: &CommitDetails,
    ) -> Self {
        let launch = Launch::new(commit.code.as_ref(), &commit.images);
        let enter = launch.enter();
        let gets_code = launch.code.iter().any(|line| line.starts_with("git clone"));
        let starts = !launch.start.is_empty();
        let local = local_name(dot, commit.dot.as_ref());
        let option = local.map_or_else(String::new, |name| format!(" --local-name {name}"));
        let address_of_code = commit.code.as_ref().and_then(|code| code.remote.as_deref());
        let is_usable = address_of_code.is_some_and(|remote| remote.parse::<CodeAddress>().is_ok());
        let at_once = (is_usable && starts).then(|| format!("dm run {hub_url}{address}"));
        let mut lines = launch.code;
        lines.extend(enter);
        lines.push(format!("dm clone {hub_url}{address}{option}"));
        lines.extend(launch.start);
        Self {
            at_once,
            lines,
            gets_code,
            starts,
        }
    }
}

/// Returns the commands that push a new commit to a dot of the hub.
pub(crate) fn push(
    hub_url: &str,
    dot: &DotHeader,
    known: Option<&DotName>,
    is_own: bool,
) -> Vec<String> {
    let local = local_name(dot, known);
    let elsewhere = match is_own && local.is_none() {
        true => String::new(),
        false => format!(" --remote-name {}", dot.full()),
    };
    let local = local.map_or_else(|| dot.name.clone(), ToString::to_string);
    vec![
        format!("dm switch {local}"),
        "dm commit -m \"What it shows\"".to_owned(),
        format!("dm push {hub_url}{elsewhere}"),
    ]
}

/// Returns the commands that push a first commit to the hub, from a machine that is not logged in.
pub(crate) fn first_push(hub_url: &str, message: &str) -> Vec<String> {
    vec![
        format!("dm login {hub_url}"),
        format!("dm commit -m \"{message}\""),
        format!("dm push {hub_url}"),
    ]
}

/// Returns the dot's name on its node, if it differs from the name that a clone gets.
fn local_name<'a>(dot: &DotHeader, known: Option<&'a DotName>) -> Option<&'a DotName> {
    known.filter(|known| known.to_string() != dot.name)
}
