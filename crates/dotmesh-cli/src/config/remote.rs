//! A remote: a hub under a name of the user's choice, and the user's account there.

use std::fmt;
use std::str::FromStr;

use dotmesh_api::HubAddress;
use dotmesh_api::node::HubAccount;
use dotmesh_model::UserName;
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Code, Result};

/// A hub, and the user's account there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// The hub's URL.
    pub address: String,
    /// The account. Without one, public dots can be cloned and pulled.
    #[serde(flatten)]
    pub account: Option<SavedAccount>,
}

/// An account on a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAccount {
    /// The account's user.
    pub user: UserName,
    /// The account's API key.
    pub api_key: SavedApiKey,
}

/// An API key. Its `Debug` output hides the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SavedApiKey(String);

impl SavedApiKey {
    /// Wraps a key.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The key itself, to log in with.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SavedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SavedApiKey(…)")
    }
}

/// The user's own name for a hub.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteName(String);

impl FromStr for RemoteName {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        let first = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        if first && text.len() <= 64 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a remote's name has 1 to 64 letters, digits, '_', '-' or '.', and starts with a letter or digit".to_owned())
        }
    }
}

impl TryFrom<String> for RemoteName {
    type Error = String;
    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<RemoteName> for String {
    fn from(name: RemoteName) -> String {
        name.0
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Remote {
    /// The hub's parsed address.
    pub fn hub(&self) -> Result<HubAddress> {
        self.address.parse().map_err(|error: String| {
            CliError::new(
                Code::ConfigFile,
                format!("the config file has a remote without a usable address: {error}"),
            )
            .hint("Remove it with 'dm remote rm', and add it again.")
        })
    }

    /// Whether the remote is at the hub with that address.
    pub fn is_at(&self, hub: &str) -> bool {
        let address = |text: &str| text.parse::<HubAddress>().ok();
        address(&self.address).is_some_and(|here| address(hub) == Some(here))
    }

    /// An account on the hub at an address.
    pub fn with_account(address: String, user: UserName, api_key: SavedApiKey) -> Self {
        Self {
            address,
            account: Some(SavedAccount { user, api_key }),
        }
    }

    /// The account's user.
    pub fn user(&self) -> Option<&UserName> {
        self.account.as_ref().map(|account| &account.user)
    }

    /// The account, for a request.
    pub fn hub_account(&self) -> Option<HubAccount> {
        self.account.as_ref().map(|account| HubAccount {
            user: account.user.clone(),
            secret: account.api_key.reveal().to_owned(),
        })
    }

    /// `user@host`, or the host if there is no account. The scheme is included only if it is not the default for that host.
    pub fn login(&self) -> String {
        let short = self.address.split_once("://").map(|(_, host)| host);
        let same = |host: &&str| {
            host.parse::<HubAddress>()
                .is_ok_and(|address| address.to_string() == self.address)
        };
        let host = short.filter(same).unwrap_or(&self.address);
        match self.user() {
            Some(user) => format!("{user}@{host}"),
            None => host.to_owned(),
        }
    }
}
