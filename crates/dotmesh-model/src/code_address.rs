//! The address of a repository of code, as a commit records it. Another user may have written it.

use std::fmt;
use std::str::FromStr;

/// The address of a repository that git may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeAddress {
    text: String,
    host: String,
}

impl CodeAddress {
    /// The machine that has the repository.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for CodeAddress {
    type Err = String;

    /// Takes `https://…`, `ssh://…`, and `user@host:path`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let refused = |why: &str| Err(format!("the address of its repository, '{text}', {why}"));
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refused("has spaces or control characters");
        }
        let rest = match text.split_once("://") {
            Some(("https" | "ssh", rest)) => rest,
            Some(_) => return refused("is not one of https:// or ssh://"),
            // `ext::COMMAND` makes git run a command.
            None if text.contains("::") => return refused("is not one of https:// or ssh://"),
            None => match text.split_once(':') {
                Some((host, path))
                    if host.contains('@') && !host.contains('/') && !path.is_empty() =>
                {
                    text
                }
                _ => return refused("is not one of https:// or ssh://"),
            },
        };
        // An option of ssh in place of a user or a host.
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        let parts: Vec<&str> = host.split('@').collect();
        if parts.len() > 2
            || parts
                .iter()
                .any(|part| part.is_empty() || part.starts_with('-'))
        {
            return refused("has no usable host");
        }
        Ok(Self {
            text: text.to_owned(),
            host: parts.last().map_or(host, |host| host).to_owned(),
        })
    }
}

impl fmt::Display for CodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_https_and_ssh_are_taken() {
        for (text, host) in [
            ("https://github.com/dotmesh-io/moby-counter", "github.com"),
            ("ssh://git@example.com:2222/shop.git", "example.com"),
            ("git@github.com:dotmesh-io/moby-counter", "github.com"),
        ] {
            let address: CodeAddress = text.parse().expect("an address");
            assert_eq!(
                (address.host(), address.to_string()),
                (host, text.to_owned())
            );
        }
        for address in [
            "http://example.com/shop",
            "git://example.com/shop",
            "file:///etc",
            "/srv/shop",
            "../shop",
            "ext::sh -c touch% /tmp/owned",
            "ext::sh",
            "https://",
            "ssh://-oProxyCommand=touch/x",
            "ssh://git@-oProxyCommand=touch/x",
            "-oProxyCommand=touch@host:x",
            "git@-oProxyCommand=touch:x",
            "--upload-pack=touch",
            "https://example.com/a b",
            "fd::7",
            "",
        ] {
            assert!(address.parse::<CodeAddress>().is_err(), "{address}");
        }
    }
}
