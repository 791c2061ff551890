//! What the hub's administrator has decided.

use url::Url;

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
    /// Who can make an account.
    pub sign_up: SignUp,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            sign_up: SignUp::Invitation,
        }
    }
}

impl Settings {
    /// Whether users reach it over TLS.
    pub fn is_secure(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// The hub's address without a slash at the end. `host` is what a request says of it.
    pub fn url_for(&self, host: Option<&str>) -> String {
        match &self.url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", host.unwrap_or("localhost")),
        }
    }
}
