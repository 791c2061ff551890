//! The typed client of a hub for what needs no login.

use std::time::Duration;

use reqwest::Method;

use crate::client::{self, ClientError};
use crate::hub::{
    BeginLogin, CurrentUser, DeviceCode, DeviceLogin, HubVersion, LoginState, PROTOCOL_VERSION,
};
use crate::hub_address::{HubAddress, HubHost};
use crate::network::Network;

/// How long a hub may be silent before it counts as gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Calls a hub as nobody.
#[derive(Debug, Clone)]
pub struct HubVisitor {
    http: reqwest::Client,
    address: HubAddress,
}

impl HubVisitor {
    /// A client; nothing is connected yet.
    pub fn new(address: HubAddress) -> Result<Self, ClientError> {
        Self::through(&Network::default(), address)
    }

    pub(crate) fn through(network: &Network, address: HubAddress) -> Result<Self, ClientError> {
        let http = http(network, &address, SILENCE)?;
        Ok(Self { http, address })
    }

    /// Finds out how a hub is spoken to, where its user left that open.
    ///
    /// HTTP is chosen only on this machine, and only when what listens there does not speak TLS.
    pub async fn find(host: HubHost) -> Result<Self, ClientError> {
        let (https, http) = match host {
            HubHost::Known(address) => return Self::new(address),
            HubHost::Loopback { https, http } => (https, http),
        };
        let visitor = Self::new(https)?;
        match visitor.version().await {
            Err(error @ ClientError::Unreachable { .. }) if !error.is_untrusted() => {
                Self::new(http)
            }
            _ => Ok(visitor),
        }
    }

    /// The hub's address.
    pub fn address(&self) -> &HubAddress {
        &self.address
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, url(&self.address, path))
    }

    /// What answers there. Fails with [`ClientError::NotDotmesh`] when it is no hub, and with
    /// [`ClientError::OtherProtocol`] when it is one that this client cannot talk to.
    pub async fn version(&self) -> Result<HubVersion, ClientError> {
        let server = self.address.to_string();
        let request = self.request(Method::GET, "version");
        let version: HubVersion = client::json(&server, request).await?;
        if version.server != "dothub" {
            let status = 200;
            return Err(ClientError::NotDotmesh { server, status });
        }
        if version.protocol != PROTOCOL_VERSION {
            let theirs = version.protocol;
            return Err(ClientError::OtherProtocol { server, theirs });
        }
        Ok(version)
    }

    /// Whose API key it is.
    pub async fn owner(&self, key: &str) -> Result<CurrentUser, ClientError> {
        let request = self.request(Method::GET, "user").bearer_auth(key);
        client::json(&self.address.to_string(), request).await
    }

    /// Asks for a key, which a user of the hub has to approve on its pages.
    pub async fn begin_login(&self, begin: &BeginLogin) -> Result<DeviceLogin, ClientError> {
        let request = self.request(Method::POST, "logins").json(begin);
        client::json(&self.address.to_string(), request).await
    }

    /// What came of it so far. The key is told once.
    pub async fn login_state(&self, code: &DeviceCode) -> Result<LoginState, ClientError> {
        let request = self.request(Method::POST, "logins/token").json(code);
        client::json(&self.address.to_string(), request).await
    }
}

/// An HTTP client for a hub that may be silent for so long.
pub(crate) fn http(
    network: &Network,
    hub: &HubAddress,
    silence: Duration,
) -> Result<reqwest::Client, ClientError> {
    network
        .apply(client::builder())
        .read_timeout(silence)
        // A redirect to another host would hand it the key.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|source| client::unreachable(&hub.to_string(), source))
}

/// The address of a route.
pub(crate) fn url(hub: &HubAddress, path: &str) -> String {
    format!("{hub}/api/v{PROTOCOL_VERSION}/{path}")
}
