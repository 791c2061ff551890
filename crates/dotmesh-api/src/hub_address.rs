//! The address of a hub, and the ways to write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The address of a hub: `host`, `host:port`, or a URL with `http://` or `https://`. Each is stored in one spelling.
///
/// Without a scheme it is HTTPS, except on the loopback interface. So a key never crosses a network in clear text
/// unless the user wrote `http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAddress {
    url: String,
}

/// A hub as the user named it. On the loopback interface the scheme may still be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubHost {
    /// The scheme is known.
    Known(HubAddress),
    /// A hub on this machine, named without a scheme. It is HTTPS if the hub speaks TLS, else HTTP.
    Loopback { https: HubAddress, http: HubAddress },
}

/// The parts of an address.
struct Parts<'a> {
    scheme: Option<&'a str>,
    /// In lower case, because host names are case-insensitive.
    host: String,
    port: Option<u16>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a hub's address: write HOST, HOST:PORT or a URL");
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, rest)) => match ["http", "https"]
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(scheme))
            {
                Some(scheme) => (Some(scheme), rest),
                None => return Err(wrong()),
            },
            None => (None, text),
        };
        let authority = authority.trim_end_matches('/');
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if !authority.chars().all(allowed) {
            return Err(wrong());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                let number = port.parse::<u16>().map_err(|_| {
                    format!(
                        "Please specify a port as an integer, e.g. user@host:8080, got '{port}'"
                    )
                })?;
                (host, Some(number))
            }
            _ => (authority, None),
        };
        if !is_host(host) {
            return Err(wrong());
        }
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    fn address(&self, scheme: &str) -> HubAddress {
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = match self.port {
            Some(port) if port != usual => format!(":{port}"),
            _ => String::new(),
        };
        let url = format!("{scheme}://{}{port}", self.host);
        HubAddress { url }
    }
}

/// Whether a text is a host name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.is_empty() && !text.contains(['[', ']', ':']),
    }
}

impl FromStr for HubAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Parts::of(text)?;
        let usual = if parts.is_loopback() { "http" } else { "https" };
        Ok(parts.address(parts.scheme.unwrap_or(usual)))
    }
}

impl FromStr for HubHost {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Parts::of(text)?;
        Ok(match parts.scheme {
            Some(scheme) => Self::Known(parts.address(scheme)),
            None if parts.is_loopback() => Self::Loopback {
                https: parts.address("https"),
                http: parts.address("http"),
            },
            None => Self::Known(parts.address("https")),
        })
    }
}

impl HubAddress {
    /// The host alone, without brackets.
    pub fn host(&self) -> &str {
        let authority = self.url.split_once("://").map_or("", |(_, rest)| rest);
        match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => authority.split(':').next().unwrap_or(authority),
        }
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> String {
        match text.parse::<HubAddress>() {
            Ok(address) => address.to_string(),
            Err(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn one_spelling_for_each_hub() {
        let table = [
            ("hub.example.com", "https://hub.example.com"),
            ("Hub.Example.COM", "https://hub.example.com"),
            ("hub.example.com:443", "https://hub.example.com"),
            ("hub.example.com:8443", "https://hub.example.com:8443"),
            ("https://hub.example.com/", "https://hub.example.com"),
            ("HTTPS://hub.example.com", "https://hub.example.com"),
            ("http://hub.example.com:80", "http://hub.example.com"),
            ("http://hub.example.com:443", "http://hub.example.com:443"),
            ("localhost", "http://localhost"),
            ("https://localhost:8180", "https://localhost:8180"),
            ("127.8.0.1:8180", "http://127.8.0.1:8180"),
            ("[::1]:8180", "http://[::1]:8180"),
            ("[2001:DB8::1]", "https://[2001:db8::1]"),
            ("localhost.example.com", "https://localhost.example.com"),
            ("0.0.0.0:1", "https://0.0.0.0:1"),
        ];
        for (text, expected) in table {
            assert_eq!(address(text), expected, "{text}");
            assert_eq!(address(expected), expected, "said again");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "/",
            ":80",
            "http://",
            "https:///path",
            "ftp://hub.example.com",
            "hub.example.com/path",
            "alice@hub.example.com",
            "hub.example.com?x",
            "hub.example.com#x",
            "hub example.com",
            "hub.example.com:99999",
            "hub.example.com:",
            "a:b:c",
            "::1",
            "[::1",
            "[hub]",
            "[::1]x",
            "hüb.example.com",
            "hub.example.com\n",
            "https://https://hub.example.com",
        ] {
            assert_eq!(address(text), "refused", "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_leaves_the_scheme_open() {
        let open = |text: &str| matches!(text.parse(), Ok(HubHost::Loopback { .. }));
        for text in [
            "localhost",
            "localhost:8180",
            "127.0.0.1",
            "127.255.0.1:1",
            "[::1]:8180",
        ] {
            assert!(open(text), "{text}");
        }
        for text in [
            "hub.example.com",
            "http://localhost",
            "https://127.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "127.0.0.1.example.com",
            "10.0.0.1",
        ] {
            assert!(!open(text), "{text}");
        }
    }

    #[test]
    fn the_host_alone() {
        for (text, host) in [
            ("https://hub.example.com:8443", "hub.example.com"),
            ("localhost", "localhost"),
            ("[::1]:8180", "::1"),
        ] {
            assert_eq!(text.parse::<HubAddress>().expect("an address").host(), host);
        }
    }
}
