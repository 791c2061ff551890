//! The addresses that webhooks may have. Users choose them, and the hub is in a network that users cannot reach. So
//! the hub connects to public addresses only, unless its administrator allows others.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use url::{Host, Url};

use crate::settings::AddressRange;

/// The longest address, in bytes.
const MAX_LENGTH: usize = 2048;

/// The number of name lookups at once. Each takes a thread until the name server answers.
const LOOKUPS: usize = 2;

/// An address that no webhook may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// It is not a URL of HTTP or HTTPS.
    #[error("a webhook's address is an https:// or http:// URL")]
    NotAUrl,
    /// It is longer than allowed.
    #[error("a webhook's address has at most {MAX_LENGTH} bytes")]
    TooLong,
    /// It has credentials, which pages would show. The signature already tells who sends.
    #[error(
        "a webhook's address has no user name or password: check its deliveries' signature instead"
    )]
    HasCredentials,
    /// It has a fragment, which HTTP never sends.
    #[error("a webhook's address has no '#'")]
    HasFragment,
    /// It leads to an address that is not public, such as one in the hub's own network.
    #[error(
        "it leads to {0}, which is not a public address: this hub sends webhooks to public addresses only"
    )]
    NotPublic(IpAddr),
    /// Its name is unknown or leads to no public address. The error does not say which, because this would reveal the
    /// names in the hub's network.
    #[error(
        "its name leads to no public address: this hub sends webhooks to public addresses only"
    )]
    NoPublicAddress,
}

/// Networks that are not on the public internet, or that lead to such networks by translation. IPv6 addresses outside
/// `2000::/3` are not public either.
static NOT_PUBLIC: LazyLock<Vec<AddressRange>> = LazyLock::new(|| {
    [
        "0.0.0.0/8",       // this host
        "10.0.0.0/8",      // private
        "100.64.0.0/10",   // carrier-grade NAT
        "127.0.0.0/8",     // loopback
        "169.254.0.0/16",  // link-local: clouds serve secrets there
        "172.16.0.0/12",   // private
        "192.0.0.0/24",    // protocols
        "192.0.2.0/24",    // documentation
        "192.88.99.0/24",  // relays to IPv6
        "192.168.0.0/16",  // private
        "198.18.0.0/15",   // benchmarks
        "198.51.100.0/24", // documentation
        "203.0.113.0/24",  // documentation
        "224.0.0.0/4",     // multicast
        "240.0.0.0/4",     // reserved, broadcast
        "2001::/23",       // protocols, Teredo
        "2001:db8::/32",   // documentation
        "2002::/16",       // 6to4: any IPv4 address
        "3fff::/20",       // documentation
    ]
    .iter()
    .filter_map(|network| network.parse().ok())
    .collect()
});

/// Whether an address is on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let global = match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.segments()[0] >> 13 == 1,
    };
    global && !NOT_PUBLIC.iter().any(|network| network.contains(address))
}

/// Reads a webhook's address. Names are looked up at each delivery, because they may lead elsewhere by then.
pub fn parse(text: &str, to_private: bool) -> Result<Url, InvalidTarget> {
    if text.len() > MAX_LENGTH {
        return Err(InvalidTarget::TooLong);
    }
    let url: Url = text.parse().map_err(|_| InvalidTarget::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidTarget::NotAUrl);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidTarget::HasCredentials);
    }
    if url.fragment().is_some() {
        return Err(InvalidTarget::HasFragment);
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err(InvalidTarget::NotAUrl),
    };
    match address {
        Some(address) if !to_private && !is_public(address) => {
            Err(InvalidTarget::NotPublic(address))
        }
        _ => Ok(url),
    }
}

/// A resolver that returns only the addresses that the hub may connect to. The client connects to these and looks
/// nothing up itself, so a name cannot lead elsewhere a moment later.
#[derive(Debug)]
pub struct Resolver {
    to_private: bool,
    turns: Arc<Semaphore>,
}

impl Resolver {
    /// Makes a resolver for public addresses only, or for all addresses.
    pub fn new(to_private: bool) -> Self {
        Self {
            to_private,
            turns: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (to_private, turns) = (self.to_private, self.turns.clone());
        // The lookup runs in its own task. It continues when nobody waits for it any more, and keeps its place among
        // the `LOOKUPS` until it ends.
        let lookup = tokio::spawn(async move {
            let _turn = turns.acquire_owned().await;
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok::<Vec<SocketAddr>, std::io::Error>(found.collect())
        });
        Box::pin(async move {
            let found = lookup.await?;
            if to_private {
                return Ok(Box::new(found?.into_iter()) as Addrs);
            }
            let mut public = found.unwrap_or_default();
            public.retain(|found| is_public(found.ip()));
            match public.is_empty() {
                true => Err(InvalidTarget::NoPublicAddress.into()),
                false => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::dns::Resolve as _;

    use super::{InvalidTarget, NOT_PUBLIC, Resolver, is_public, parse};

    #[test]
    fn public_addresses() {
        assert_eq!(NOT_PUBLIC.len(), 19);
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().expect(public)), "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(other.parse().expect(other)), "{other}");
        }
    }

    #[tokio::test]
    async fn what_a_name_leads_to_is_not_told() {
        let said = async |name: &str, to_private: bool| {
            let name = name.parse().expect("a name");
            match Resolver::new(to_private).resolve(name).await {
                Ok(found) => format!("{} found", found.count().min(1)),
                Err(error) => error.to_string(),
            }
        };
        let private = said("localhost", false).await;
        assert_eq!(private, InvalidTarget::NoPublicAddress.to_string());
        assert_eq!(said("no-such-host.invalid", false).await, private);
        assert_eq!(said("localhost", true).await, "1 found");
    }

    #[test]
    fn addresses_of_webhooks() {
        for good in [
            "https://example.com/hook?token=1",
            "http://example.com:8080",
            "https://1.1.1.1/",
        ] {
            assert!(parse(good, false).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", InvalidTarget::NotAUrl),
            ("example.com", InvalidTarget::NotAUrl),
            ("ftp://example.com/", InvalidTarget::NotAUrl),
            ("file:///etc/passwd", InvalidTarget::NotAUrl),
            ("javascript:alert(1)", InvalidTarget::NotAUrl),
            ("https://", InvalidTarget::NotAUrl),
            ("https://user@example.com/", InvalidTarget::HasCredentials),
            ("https://:pass@example.com/", InvalidTarget::HasCredentials),
            ("https://example.com/#part", InvalidTarget::HasFragment),
        ] {
            assert_eq!(parse(bad, true), Err(why), "{bad}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2048));
        assert_eq!(parse(&long, true), Err(InvalidTarget::TooLong));
        // An address is refused in every spelling.
        for hidden in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert!(
                matches!(parse(hidden, false), Err(InvalidTarget::NotPublic(_))),
                "{hidden}"
            );
            assert!(parse(hidden, true).is_ok(), "{hidden}");
        }
    }
}
