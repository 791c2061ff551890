//! The address of a request's client, and the network that counts as one client.

use std::fmt;
use std::net::IpAddr;

use crate::rate_limit::Subject;

/// The address of a request's client, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(Option<IpAddr>);

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(Some(address))
    }
}

impl ClientAddress {
    /// No known address.
    pub const UNKNOWN: Self = Self(None);

    /// Returns the subject of the limits for a request without a login.
    pub fn subject(&self) -> Subject {
        Subject::Network(self.network())
    }

    /// Returns the network that counts as one client, as [`network`] says.
    pub fn network(&self) -> String {
        self.0.map_or_else(|| self.to_string(), network)
    }
}

/// Returns the network that counts as one client: an IPv4 address, or the /64 network of an IPv6 address.
pub fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        IpAddr::V4(address) => address.to_string(),
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("an unknown address"),
        }
    }
}
