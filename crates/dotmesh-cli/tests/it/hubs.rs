//! How `dm` finds out which protocol a hub speaks, and what it sends to the server.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use insta::assert_snapshot;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::binary::Home;

const VERSION: &str = r#"{"server":"dothub","version":"0.0.0","protocol":1}"#;
const USER: &str = r#"{"name":"alice"}"#;

/// The protocol of a server.
#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Http,
    Tls,
    /// Answers every request with this text.
    Words(&'static str),
}

/// A server on a loopback port that records what it receives.
struct Listener {
    address: String,
    served: JoinHandle<Vec<String>>,
}

impl Listener {
    /// Starts a server that accepts this number of connections.
    fn start(speaks: Speaks, connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let taken = listener.incoming().take(connections);
            let serving =
                taken.map(|stream| std::thread::spawn(move || serve(speaks, stream.unwrap())));
            let serving: Vec<_> = serving.collect();
            serving
                .into_iter()
                .map(|served| served.join().unwrap())
                .collect()
        });
        Self { address, served }
    }

    fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    /// What each connection received.
    fn received(self) -> Vec<String> {
        self.served.join().unwrap()
    }
}

fn serve(speaks: Speaks, mut stream: TcpStream) -> String {
    match speaks {
        Speaks::Http => converse(stream),
        Speaks::Tls => converse(StreamOwned::new(tls(), stream)),
        Speaks::Words(words) => {
            let received = read(&mut stream);
            let _ = stream.write_all(words.as_bytes());
            received
        }
    }
}

/// Answers requests until the client closes the connection.
fn converse(mut stream: impl std::io::Read + std::io::Write) -> String {
    let mut all = String::new();
    loop {
        let mut buffer = [0; 8192];
        let request = match stream.read(&mut buffer) {
            Ok(length @ 1..) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Ok(0) | Err(_) => return all,
        };
        let body = if request.starts_with("GET /api/v1/version ") {
            VERSION
        } else if request.starts_with("GET /api/v1/user ") {
            USER
        } else {
            // This is not HTTP, but a TLS handshake.
            return all + "other";
        };
        all.push_str(&request);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return all;
        }
    }
}

fn read(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 8192];
    let length = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// The server side of TLS, with a self-signed certificate for this machine.
fn tls() -> ServerConnection {
    let certificate = CertificateDer::from(&include_bytes!("tls/certificate.der")[..]);
    let key = PrivatePkcs8KeyDer::from(&include_bytes!("tls/key.der")[..]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Runs `dm` with an API key in its environment. Replaces port numbers with `PORT`.
fn run(home: &Home, line: &str, port: &str, certificates: Option<&str>) -> String {
    let mut command = home.command(line);
    command.env("DOTMESH_PASSWORD", "dmk_secret");
    if let Some(file) = certificates {
        command.env("SSL_CERT_FILE", file);
    }
    let shown = home.shown(&command.output().unwrap());
    shown.replace(port, "PORT")
}

const OWN_CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/certificate.pem");

#[test]
fn a_hub_of_this_machine_is_spoken_to_as_it_speaks() {
    let home = Home::new();
    let hub = Listener::start(Speaks::Http, 3);
    let port = hub.port().to_owned();
    assert_snapshot!(run(&home, &format!("remote add plain alice@localhost:{port}"), &port, None), @r"
    ---
    Remote added.
    Automatically switched to first remote.
    --- 0
    ");
    let received = hub.received();
    assert_eq!(received[0], "other", "TLS is tried first");
    assert!(
        received[1..]
            .iter()
            .any(|sent| sent.contains("authorization: Basic"))
    );
    let version = received[1..]
        .iter()
        .find(|sent| sent.contains("GET /api/v1/version"));
    let (version, _) = version.unwrap().split_once("\r\n\r\n").unwrap();
    assert!(
        !version.contains("authorization"),
        "no key before it is known to be a hub"
    );

    let hub = Listener::start(Speaks::Tls, 3);
    let port = hub.port().to_owned();
    let line = format!("login localhost:{port} --key --name encrypted");
    assert_snapshot!(run(&home, &line, &port, Some(OWN_CERTIFICATE)), @r"
    ---
    Logged in to https://localhost:PORT as alice, with the remote 'encrypted'.
    --- 0
    ");
    drop(hub);
    // The hub has moved to another port, and the remote follows.
    let hub = Listener::start(Speaks::Http, 3);
    let moved = hub.port().to_owned();
    let line = format!("remote set-url plain localhost:{moved}");
    assert_snapshot!(run(&home, &line, &moved, None), @r"
    ---
    Remote 'plain' is alice@localhost:PORT now
    --- 0
    ");
    drop(hub);
    let line = format!("remote set-url plain localhost:{port}");
    let failed = run(&home, &line, &port, None);
    assert!(failed.contains("Error: "), "{failed}");
    let remotes = home.run("remote -v");
    assert!(
        remotes.contains(&format!("plain<tab>alice@localhost:{moved}")),
        "{remotes}"
    );
    assert!(remotes.contains("plain<tab>alice@localhost:"), "{remotes}");
    assert!(
        remotes.contains("encrypted<tab>alice@https://localhost:"),
        "{remotes}"
    );
}

#[test]
fn a_certificate_that_is_not_trusted_is_no_reason_for_http() {
    let home = Home::new();
    let hub = Listener::start(Speaks::Tls, 2);
    let port = hub.port().to_owned();
    assert_snapshot!(run(&home, &format!("login 127.0.0.1:{port} --key"), &port, None), @r"
    ---
    Error: cannot reach https://127.0.0.1:PORT: invalid peer certificate: UnknownIssuer
    hint: This machine does not trust the hub's certificate. Add its issuer's certificate to the system's.
    --- 3
    ");
    assert!(hub.received().iter().all(|sent| !sent.contains("GET")));
}

#[test]
fn other_machines_are_never_spoken_to_in_clear_unasked() {
    let home = Home::new();
    // 0.0.0.0 is not a loopback address, but still reaches this machine.
    let hub = Listener::start(Speaks::Http, 1);
    let port = hub.port().to_owned();
    assert_snapshot!(run(&home, &format!("remote add hub alice@0.0.0.0:{port}"), &port, None), @r"
    ---
    Error: cannot reach https://0.0.0.0:PORT: tls handshake eof
    hint: Check the host and the port, and that the hub runs.
    hint: If the hub uses plain HTTP, and you trust the network, write http:// before the host.
    --- 3
    ");
    assert_eq!(hub.received(), ["other"]);

    let hub = Listener::start(Speaks::Http, 1);
    let port = hub.port().to_owned();
    let line = format!("login http://0.0.0.0:{port} --key");
    assert_snapshot!(run(&home, &line, &port, None), @r"
    ---
    Logged in to http://0.0.0.0:PORT as alice, with the remote '0.0.0.0'.
    Automatically switched to first remote.
    --- 0
    ");
}

#[test]
fn what_answers_must_be_a_hub() {
    let home = Home::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let other = Listener::start(Speaks::Words(answer), 2);
    let port = other.port().to_owned();
    assert_snapshot!(run(&home, &format!("remote add hub alice@{}", other.address), &port, None), @r"
    ---
    Error: http://127.0.0.1:PORT is not a Dotmesh hub (it answered with status 200)
    hint: Check the host and the port.
    hint: If a network on the way wants a login, open any page in a browser on this machine and log in. Then try again.
    --- 3
    ");
    assert!(!other.received().concat().contains("uthorization"));
}

#[test]
fn a_login_belongs_to_who_it_was_meant_for() {
    let home = Home::new();
    let hub = Listener::start(Speaks::Http, 2);
    let port = hub.port().to_owned();
    let line = format!("login http://localhost:{port} --key --user bob");
    assert_snapshot!(run(&home, &line, &port, None), @r"
    ---
    Error: the login is for alice, not for bob
    hint: Use an API key of bob, or first log in to the hub's website as bob.
    --- 1
    ");
    assert!(!home.path().join(".dotmesh/config").exists());
}
