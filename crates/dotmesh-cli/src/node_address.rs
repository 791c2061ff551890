//! Where the node is: at a socket of this machine, behind ssh, or in a Docker Engine as a managed plugin.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::process::Command;

use crate::error::CliError;

/// The image with `dm`, by which a node in a Docker Engine is reached.
pub const DEFAULT_IMAGE: &str = "dotmesh/dm";

/// The folder of the node's socket on the Engine's machine.
const SOCKET_FOLDER: &str = "/run/dotmesh";

/// The value of `DOTMESH_HOST`, or the socket if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAddress {
    /// `unix:///path`
    Socket(PathBuf),
    /// `ssh://[user@]host[:port]`: the machine has `dm`.
    Ssh {
        user: Option<String>,
        host: String,
        port: Option<u16>,
    },
    /// `docker://plugin`: the Engine that the `docker` command uses has this managed plugin.
    Docker { plugin: String },
}

impl FromStr for NodeAddress {
    type Err = CliError;

    fn from_str(text: &str) -> Result<Self, CliError> {
        let wrong = || {
            CliError::usage(format!(
                "DOTMESH_HOST is '{text}', which is no address of a node"
            ))
            .hint("Write docker://PLUGIN, ssh://[USER@]HOST[:PORT] or unix:///PATH.")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let rest = if scheme == "unix" {
            rest
        } else {
            rest.trim_end_matches('/')
        };
        // ssh and docker would take a word that begins so for an option.
        if rest.is_empty() || rest.starts_with('-') || rest.contains(char::is_whitespace) {
            return Err(wrong());
        }
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Socket(rest.into())),
            "docker" => Ok(Self::Docker {
                plugin: rest.to_owned(),
            }),
            "ssh" => {
                let (user, place) = match rest.rsplit_once('@') {
                    Some((user, place)) => (Some(user.to_owned()), place),
                    None => (None, rest),
                };
                let (host, port) = match place.rsplit_once(':') {
                    Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                        (host, Some(port.parse().map_err(|_| wrong())?))
                    }
                    _ => (place, None),
                };
                let host = host.trim_start_matches('[').trim_end_matches(']');
                if host.is_empty() || host.starts_with('-') || host.contains('/') {
                    return Err(wrong());
                }
                Ok(Self::Ssh {
                    user,
                    host: host.to_owned(),
                    port,
                })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Docker { plugin } => write!(f, "docker://{plugin}"),
            Self::Ssh { user, host, port } => {
                write!(f, "ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                match host.contains(':') {
                    true => write!(f, "[{host}]")?,
                    false => write!(f, "{host}")?,
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

impl NodeAddress {
    /// The command whose input and output lead to the node. `None` if the node has a socket here.
    pub fn dial(&self, image: &str) -> Option<Command> {
        let mut command;
        match self {
            Self::Socket(_) => return None,
            Self::Ssh { user, host, port } => {
                command = Command::new("ssh");
                command.arg("-T");
                if let Some(user) = user {
                    command.args(["-l", user]);
                }
                if let Some(port) = port {
                    command.args(["-p", &port.to_string()]);
                }
                command.args(["--", host, "dm", "dial-stdio"]);
            }
            Self::Docker { .. } => {
                let volume = format!("{SOCKET_FOLDER}:{SOCKET_FOLDER}");
                command = Command::new("docker");
                command.args(["run", "--rm", "--interactive", "--network", "none"]);
                command.args(["--volume", &volume, "--", image, "dial-stdio"]);
            }
        }
        Some(command)
    }

    /// The command that prints `true` if the plugin is enabled.
    pub fn check(&self) -> Option<Command> {
        let Self::Docker { plugin } = self else {
            return None;
        };
        let mut command = Command::new("docker");
        command.args([
            "plugin",
            "inspect",
            "--format",
            "{{.Enabled}}",
            "--",
            plugin,
        ]);
        Some(command)
    }

    /// What to do if the node is not reached.
    pub fn advice(&self, image: &str) -> String {
        match self {
            Self::Socket(_) => "Start Dotmesh with 'sudo dm cluster init'.".to_owned(),
            Self::Ssh { host, .. } => format!(
                "'ssh {host} dm version' must work: the other machine needs 'dm', and your account there must be allowed to use it."
            ),
            Self::Docker { plugin } => format!(
                "'docker plugin ls' must show '{plugin}' as enabled. dm reaches it with the image '{image}', or the one in DOTMESH_IMAGE."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NodeAddress;

    fn words(text: &str) -> String {
        let address: NodeAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), text.trim_end_matches('/'));
        let command = address.dial("image").unwrap();
        let command = command.as_std();
        let mut words = vec![command.get_program()];
        words.extend(command.get_args());
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn an_address_names_the_command_that_leads_there() {
        assert_eq!(words("ssh://box"), "ssh -T -- box dm dial-stdio");
        assert_eq!(
            words("ssh://alice@box:2222/"),
            "ssh -T -l alice -p 2222 -- box dm dial-stdio"
        );
        assert_eq!(
            words("ssh://[fe80::1]:22"),
            "ssh -T -p 22 -- fe80::1 dm dial-stdio"
        );
        assert_eq!(
            words("docker://dm"),
            "docker run --rm --interactive --network none --volume /run/dotmesh:/run/dotmesh -- image dial-stdio"
        );
        let socket: NodeAddress = "unix:///run/x.sock".parse().unwrap();
        assert_eq!(socket, NodeAddress::Socket("/run/x.sock".into()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "dm",
            "docker://",
            "docker://-v",
            "docker://a b",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://alice@-x",
            "ssh://box:port",
            "ssh://box/path",
            "unix://relative",
            "tcp://box:80",
        ] {
            assert!(text.parse::<NodeAddress>().is_err(), "{text}");
        }
    }
}
