//! The typed client for the hub's routes that need no login.

use std::time::{Duration, SystemTime};

use reqwest::Method;
use reqwest::header::DATE;

use crate::client::{self, ClientError};
use crate::hub::{
    BeginLogin, CurrentUser, DeviceCode, DeviceLogin, HubVersion, LoginState, PROTOCOL_VERSION,
};
use crate::hub_address::{HubAddress, HubHost};
use crate::network::Network;

/// The time for which a hub may be silent before the client gives up.
const SILENCE: Duration = Duration::from_secs(60);

/// A client that calls a hub without credentials.
#[derive(Debug, Clone)]
pub struct HubVisitor {
    http: reqwest::Client,
    address: HubAddress,
}

impl HubVisitor {
    /// Makes a client, without connecting yet.
    pub fn new(address: HubAddress) -> Result<Self, ClientError> {
        Self::through(&Network::default(), address)
    }

    pub(crate) fn through(network: &Network, address: HubAddress) -> Result<Self, ClientError> {
        let http = http(network, &address, SILENCE)?;
        Ok(Self { http, address })
    }

    /// Finds the scheme of a hub, if the user left it open.
    ///
    /// HTTP is chosen only on this machine, and only if the server there does not speak TLS.
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

    /// The hub's version. Fails with [`ClientError::NotDotmesh`] if the server is no hub, and with
    /// [`ClientError::OtherProtocol`] if the hub speaks another version of the protocol.
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

    /// The clock of the server at the hub's address.
    pub(crate) async fn clock(&self) -> Result<Option<SystemTime>, ClientError> {
        let server = self.address.to_string();
        let response = client::send(&server, self.request(Method::GET, "version")).await?;
        let date = response.headers().get(DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        Ok(date)
    }

    /// The user of an API key.
    pub async fn owner(&self, key: &str) -> Result<CurrentUser, ClientError> {
        let request = self.request(Method::GET, "user").bearer_auth(key);
        client::json(&self.address.to_string(), request).await
    }

    /// Requests a key, which a user of the hub must approve on its pages.
    pub async fn begin_login(&self, begin: &BeginLogin) -> Result<DeviceLogin, ClientError> {
        let request = self.request(Method::POST, "logins").json(begin);
        client::json(&self.address.to_string(), request).await
    }

    /// The state of the login. The hub sends the key once.
    pub async fn login_state(&self, code: &DeviceCode) -> Result<LoginState, ClientError> {
        let request = self.request(Method::POST, "logins/token").json(code);
        client::json(&self.address.to_string(), request).await
    }
}

/// An HTTP client for a hub that may be silent for `silence`.
pub(crate) fn http(
    network: &Network,
    hub: &HubAddress,
    silence: Duration,
) -> Result<reqwest::Client, ClientError> {
    network
        .apply(client::builder())
        .read_timeout(silence)
        // A redirect to another host would send it the key.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|source| client::unreachable(&hub.to_string(), source))
}

/// The URL of a route.
pub(crate) fn url(hub: &HubAddress, path: &str) -> String {
    format!("{hub}/api/v{PROTOCOL_VERSION}/{path}")
}
