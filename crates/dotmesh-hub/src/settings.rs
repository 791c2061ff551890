//! What the hub's administrator has decided.

use std::net::IpAddr;
use std::num::NonZeroU32;

use jiff::SignedDuration;
use url::Url;

use crate::limits::Pace;

/// How many days a key works that `dm login` gets, unless told.
pub const LOGIN_KEY_DAYS: u32 = 90;

/// Who can make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SignUp {
    /// Everybody
    Open,
    /// Who has a link from an administrator
    Invitation,
    /// Nobody; `dothub user add` makes accounts
    Closed,
}

/// The settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address for its users, where they reach it by another than it listens on.
    pub url: Option<Url>,
    /// Whether it speaks TLS itself.
    pub tls: bool,
    /// Who can make an account.
    pub sign_up: SignUp,
    /// Proxies whose word is taken for where a request comes from.
    pub trusted_proxies: Vec<Network>,
    /// Whether everybody may read `/metrics`, instead of administrators.
    pub open_metrics: bool,
    /// Requests per second that one user, or one address without a login, may send for long; `None` for any number.
    pub rate_limit: Option<NonZeroU32>,
    /// Bytes that a namespace may have where nothing else is set for its owner; `None` for any number.
    pub quota: Option<u64>,
    /// How long a key works that `dm login` gets; `None` for as long as it is not revoked.
    pub login_key_lifetime: Option<SignedDuration>,
    /// How long any key works, whatever its owner chose; `None` for any time.
    pub longest_key: Option<SignedDuration>,
    /// Whether webhooks may lead to addresses that are not public.
    pub webhooks_to_private: bool,
    /// How slow clients may be.
    pub pace: Pace,
}

/// Addresses that begin alike: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an address, or a network such as 10.0.0.0/8")]
pub struct NotANetwork;

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, unused: u32| (a ^ b).checked_shr(unused).unwrap_or(0) == 0;
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same(a.to_bits().into(), b.to_bits().into(), 32 - self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128 - self.prefix),
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NotANetwork)?,
            None => bits,
        };
        if prefix <= bits {
            Ok(Self { address, prefix })
        } else {
            Err(NotANetwork)
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            tls: false,
            sign_up: SignUp::Invitation,
            trusted_proxies: Vec::new(),
            open_metrics: false,
            rate_limit: None,
            quota: None,
            login_key_lifetime: Some(SignedDuration::from_hours(24 * LOGIN_KEY_DAYS as i64)),
            longest_key: None,
            webhooks_to_private: false,
            pace: Pace::DEFAULT,
        }
    }
}

impl Settings {
    /// How many days a key works that `dm login` gets.
    pub fn login_key_days(&self) -> Option<i64> {
        self.login_key_lifetime().map(|lasts| lasts.as_hours() / 24)
    }

    /// How long a key works that `dm login` gets.
    pub fn login_key_lifetime(&self) -> Option<SignedDuration> {
        let chosen = self.login_key_lifetime.into_iter();
        chosen.chain(self.longest_key).min()
    }

    /// Whether users reach it over TLS.
    pub fn is_secure(&self) -> bool {
        self.tls || self.url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// Whether an address is one of the hub's own proxies.
    pub fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        let mut proxies = self.trusted_proxies.iter();
        proxies.any(|network| network.contains(address))
    }

    /// The hub's address without a slash at the end, where it is told one; else one that it was known by.
    pub fn url_or<'a>(&'a self, known: &'a str) -> &'a str {
        let url = self.url.as_ref().map(Url::as_str);
        url.map_or(known, |url| url.trim_end_matches('/'))
    }

    /// The hub's address without a slash at the end. `host` is what a request says of it.
    pub fn url_for(&self, host: Option<&str>) -> String {
        match &self.url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => {
                let scheme = if self.tls { "https" } else { "http" };
                format!("{scheme}://{}", host.unwrap_or("localhost"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, NotANetwork};

    #[test]
    fn networks() {
        let contains = |network: &str, address: &str| {
            let network: Network = network.parse().expect("a network");
            network.contains(address.parse().expect("an address"))
        };
        assert!(contains("10.0.0.0/8", "10.200.3.4"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("0.0.0.0/0", "1.2.3.4"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fd12::1"));
        assert!(contains("::/0", "fe80::1"));
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "hub",
            "10.0.0.0/-1",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
    }
}
