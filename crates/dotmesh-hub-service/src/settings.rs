//! The hub's settings, which its administrator chooses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use dotmesh_hub_model::limits::Pace;
use jiff::SignedDuration;
use url::Url;

/// The default lifetime of the keys that `dm login` gets, in days.
pub const LOGIN_KEY_DAYS: u32 = 90;

/// How old packs are before they are repacked, by default. A push that is under way is mostly over by then.
pub const REPACK_AFTER: Duration = Duration::from_secs(60 * 60);

/// Who can make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUp {
    /// Everybody.
    Open,
    /// Who has a link from an administrator.
    Invitation,
    /// Nobody. `dothub user add` makes accounts.
    Closed,
}

/// The settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address for its users, if it differs from the address that it listens on.
    pub url: Option<Url>,
    /// Whether the hub itself speaks TLS.
    pub tls: bool,
    /// The users who can create an account.
    pub sign_up: SignUp,
    /// Proxies whose `X-Forwarded-For` header the hub trusts.
    pub trusted_proxies: Vec<AddressRange>,
    /// Whether everybody may read `/metrics`. Otherwise only administrators may.
    pub open_metrics: bool,
    /// The rate limit of one user, or of one address without a login, in requests per second. `None` for no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// The default quota of a namespace, in bytes. `None` for no limit.
    pub quota: Option<u64>,
    /// The lifetime of the keys that `dm login` gets. `None` for keys that work until they are revoked.
    pub login_key_lifetime: Option<SignedDuration>,
    /// The longest lifetime of any key, whatever its owner chose. `None` for no limit.
    pub longest_key: Option<SignedDuration>,
    /// Whether webhooks may call addresses that are not public.
    pub webhooks_to_private: bool,
    /// How old packs must be before they are repacked. `None` if they never are.
    pub repack_after: Option<Duration>,
    pub pace: Pace,
}

/// A range of addresses with a common prefix, such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    address: IpAddr,
    prefix: u32,
}

/// A text that is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an address, or a network such as 10.0.0.0/8")]
pub struct NotAnAddressRange;

impl AddressRange {
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

impl std::str::FromStr for AddressRange {
    type Err = NotAnAddressRange;

    fn from_str(text: &str) -> Result<Self, NotAnAddressRange> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotAnAddressRange)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NotAnAddressRange)?,
            None => bits,
        };
        if prefix <= bits {
            Ok(Self { address, prefix })
        } else {
            Err(NotAnAddressRange)
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
            repack_after: Some(REPACK_AFTER),
            pace: Pace::DEFAULT,
        }
    }
}

impl Settings {
    /// Returns the effective lifetime of the keys that `dm login` gets, in days.
    pub fn login_key_days(&self) -> Option<i64> {
        self.login_key_lifetime().map(|lasts| lasts.as_hours() / 24)
    }

    /// Returns the effective lifetime of the keys that `dm login` gets.
    pub fn login_key_lifetime(&self) -> Option<SignedDuration> {
        let chosen = self.login_key_lifetime.into_iter();
        chosen.chain(self.longest_key).min()
    }

    /// Returns whether users reach the hub over TLS.
    pub fn is_secure(&self) -> bool {
        self.tls || self.url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    pub fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        let mut proxies = self.trusted_proxies.iter();
        proxies.any(|network| network.contains(address))
    }

    /// Returns the hub's configured address without a slash at the end. If there is none, returns `known`.
    pub fn url_or<'a>(&'a self, known: &'a str) -> &'a str {
        let url = self.url.as_ref().map(Url::as_str);
        url.map_or(known, |url| url.trim_end_matches('/'))
    }

    /// Returns the hub's address without a slash at the end. If none is configured, it is derived from `host`, the
    /// request's `Host` header.
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
    use super::{AddressRange, NotAnAddressRange};

    #[test]
    fn networks() {
        let contains = |network: &str, address: &str| {
            let network: AddressRange = network.parse().expect("a network");
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
            assert_eq!(bad.parse::<AddressRange>(), Err(NotAnAddressRange), "{bad}");
        }
    }
}
