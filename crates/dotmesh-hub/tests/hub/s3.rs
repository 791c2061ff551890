//! An S3 server for the tests, over a temporary folder: SeaweedFS.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::supervised::{Says, Supervised};

/// The server stops when this value is dropped.
pub(crate) struct S3Server {
    endpoint: String,
    _server: Supervised,
}

/// One server for all tests of this process. Each test has its own prefix.
static SHARED: LazyLock<S3Server> = LazyLock::new(S3Server::start);

/// The path where `scripts/setup.sh test` installs SeaweedFS.
fn weed() -> PathBuf {
    let weed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/bin/weed");
    assert!(weed.exists(), "`make test` installs SeaweedFS first");
    weed
}

/// A loopback address of this process, and the first of a range of ports. The server also has sockets that depend on
/// the port number alone.
fn own_place() -> (Ipv4Addr, u32) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    let [_, _, high, low] = pid.to_be_bytes();
    let port = 11_000 + pid.wrapping_mul(4).wrapping_add(n.into()) % 2000 * 8;
    (Ipv4Addr::new(127, high, low, n), port)
}

impl S3Server {
    /// The shared server, with the bucket `bucket`.
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts a server with the bucket `bucket`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let (address, port) = own_place();
        let servers = ["master", "volume", "filer", "s3", "admin"];
        let ports = (port..).zip(servers);
        let mut server = Command::new(weed());
        server
            .args(["mini", "-bucket=bucket", "-webdav=false", "-admin.ui=false"])
            .args(ports.map(|(port, server)| format!("-{server}.port={port}")))
            .arg(format!("-ip={address}"))
            .arg(format!("-ip.bind={address}"))
            .arg(format!("-dir={}", folder.display()))
            .env("HOME", &folder)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        let endpoint = |line: &str| Some(line.split_once("S3 Endpoint:")?.1.trim().to_owned());
        let (server, endpoint) = Supervised::start(folder, &server, Says::Out(endpoint));
        Self {
            endpoint,
            _server: server,
        }
    }

    /// The environment variables for a client of the server.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
