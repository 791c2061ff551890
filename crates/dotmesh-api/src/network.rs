//! The way to hubs: proxies, and trusted certificates.

use std::path::PathBuf;

/// The environment variables for it. Each may also be in lower case.
pub const VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Options that take precedence over the variables.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// The proxy for `https://`.
    pub https_proxy: Option<String>,
    /// The proxy for `http://`.
    pub http_proxy: Option<String>,
    /// Hosts, domains and networks that are reached without a proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// A PEM file of certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

/// The way to hubs.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// If this is empty, the variables apply.
    proxies: Vec<reqwest::Proxy>,
    certificates: Vec<reqwest::Certificate>,
    /// The [`VARIABLES`] that are set, or for which there is an option.
    known: Vec<String>,
}

impl Network {
    /// Reads the options and the environment variables.
    pub fn new(options: &NetworkOptions) -> Result<Self, String> {
        let NetworkOptions {
            https_proxy,
            http_proxy,
            no_proxy,
            ca_file,
        } = options;
        let mut network = Self::default();
        if https_proxy.is_some() || http_proxy.is_some() || no_proxy.is_some() {
            let bypass = no_proxy.clone().or_else(|| variable("NO_PROXY"));
            let bypass = bypass.and_then(|hosts| reqwest::NoProxy::from_string(&hosts));
            let all = || variable("ALL_PROXY");
            let https = https_proxy
                .clone()
                .or_else(|| variable("HTTPS_PROXY"))
                .or_else(all);
            if let Some(url) = https {
                let proxy = reqwest::Proxy::https(&url).map_err(|_| not_a_proxy("https", &url))?;
                network.proxies.push(proxy.no_proxy(bypass.clone()));
            }
            let http = http_proxy
                .clone()
                .or_else(|| variable("HTTP_PROXY"))
                .or_else(all);
            if let Some(url) = http {
                let proxy = reqwest::Proxy::http(&url).map_err(|_| not_a_proxy("http", &url))?;
                network.proxies.push(proxy.no_proxy(bypass));
            }
        }
        if let Some(file) = ca_file {
            let shown = file.display();
            let bytes = std::fs::read(file)
                .map_err(|error| format!("--ca-file: cannot read {shown}: {error}"))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&bytes).unwrap_or_default();
            if certificates.is_empty() {
                return Err(format!(
                    "--ca-file: {shown} has no certificate in the form PEM"
                ));
            }
            network.certificates = certificates;
        }
        let given = [
            ("HTTPS_PROXY", https_proxy.is_some()),
            ("HTTP_PROXY", http_proxy.is_some()),
            ("NO_PROXY", no_proxy.is_some()),
            ("SSL_CERT_FILE", ca_file.is_some()),
        ];
        let known = VARIABLES
            .into_iter()
            .filter(|name| given.contains(&(*name, true)) || variable(name).is_some());
        network.known = known.map(str::to_owned).collect();
        Ok(network)
    }

    /// The [`VARIABLES`] that are set, or for which there is an option.
    pub fn known(&self) -> &[String] {
        &self.known
    }

    pub(crate) fn apply(&self, mut builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        match self.certificates.is_empty() {
            true => builder,
            false => builder.tls_certs_merge(self.certificates.clone()),
        }
    }
}

/// The value of one of [`VARIABLES`], in upper or lower case. An empty value counts as unset.
pub fn variable(name: &str) -> Option<String> {
    [name.to_owned(), name.to_ascii_lowercase()]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The error for an invalid proxy. It leaves out the part of the address that may have a password.
fn not_a_proxy(scheme: &str, url: &str) -> String {
    let host = url.rsplit_once('@').map_or(url, |(_, host)| host);
    format!("'{host}' is no proxy for {scheme}: write http://HOST:PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        let error = Network::new(&NetworkOptions {
            https_proxy: Some("http://alice:secret@[".to_owned()),
            ..NetworkOptions::default()
        });
        let error = error.expect_err("no proxy");
        assert!(error.contains("'[' is no proxy for https"), "{error}");
        for (file, says) in [
            ("/nowhere/ca.pem", "cannot read /nowhere/ca.pem"),
            (
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                "no certificate",
            ),
        ] {
            let error = Network::new(&NetworkOptions {
                ca_file: Some(file.into()),
                ..NetworkOptions::default()
            });
            let error = error.expect_err("no certificates");
            assert!(error.contains(says), "{error}");
        }
    }
}
