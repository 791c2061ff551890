//! TLS by the hub itself: the real program, test certificates, and clients that trust them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use dotmesh_api::network::NetworkOptions;
use dotmesh_api::{HubClient, Network};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::cli::{Serving, start};
use crate::place::Place;

/// A certificate file and a key file.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> (Self, reqwest::Certificate) {
        let folder = tempfile::tempdir().unwrap();
        let files = Self { folder };
        let certificate = files.renew();
        (files, certificate)
    }

    /// Replaces the certificate by a new one, for the same name.
    fn renew(&self) -> reqwest::Certificate {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.key(), signing_key.serialize_pem()).unwrap();
        std::fs::write(self.certificate(), cert.pem()).unwrap();
        reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap()
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

fn serve(place: &Place, certificate: &Path, key: &Path) -> std::process::Command {
    let mut serve = place.dothub(&["serve", "--listen", "127.0.0.1:0", "--tls-certificate"]);
    serve.arg(certificate).arg("--tls-key").arg(key);
    serve
}

/// A client that trusts only this certificate.
fn trusting(certificate: &reqwest::Certificate) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([certificate.clone()])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

async fn version(client: &reqwest::Client, hub: &Serving) -> reqwest::Result<reqwest::Response> {
    let (_, port) = hub.address().rsplit_once(':').unwrap();
    let url = format!("https://localhost:{port}/api/v1/version");
    client.get(url).send().await
}

#[tokio::test]
async fn over_tls() {
    let place = Place::new().await;
    let (files, certificate) = Files::new();
    let hub = start(serve(&place, &files.certificate(), &files.key()));
    assert!(hub.address().starts_with("https://"), "{}", hub.address());

    // A silent client blocks no one.
    let address = hub.address().trim_start_matches("https://").to_owned();
    let _silent = TcpStream::connect(&address).unwrap();

    let answer = version(&trusting(&certificate), &hub).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("strict-transport-security"));

    // A client that does not trust the certificate gets nothing, and neither does plain HTTP. The hub continues.
    let (_, other) = Files::new();
    version(&trusting(&other), &hub).await.unwrap_err();
    let mut plain = TcpStream::connect(&address).unwrap();
    plain
        .write_all(b"GET /api/v1/version HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // The connection may also be reset.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"));

    // A renewed certificate is used from the next connection on. A broken one is ignored.
    let renewed = files.renew();
    version(&trusting(&certificate), &hub).await.unwrap_err();
    version(&trusting(&renewed), &hub).await.unwrap();
    std::fs::write(files.certificate(), "nothing").unwrap();
    version(&trusting(&renewed), &hub).await.unwrap();
    hub.kill();
}

#[tokio::test]
async fn certificates_that_cannot_be_used() {
    let place = Place::new().await;
    let (files, _) = Files::new();
    let (others, _) = Files::new();
    let nothing = files.folder.path().join("nothing.pem");
    std::fs::write(&nothing, "").unwrap();
    for (certificate, key, said) in [
        (
            files.folder.path().join("none"),
            files.key(),
            "cannot read certificates",
        ),
        (
            files.certificate(),
            nothing.clone(),
            "cannot read a private key",
        ),
        (nothing, files.key(), "there is no certificate"),
        (
            files.certificate(),
            others.key(),
            "cannot be used with that key",
        ),
    ] {
        let output = serve(&place, &certificate, &key).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(said), "{error}");
        assert_eq!(output.status.code(), Some(3));
    }
}

/// A proxy that forwards all connections to one address, whatever host is requested. It also reports the requests.
async fn connect_proxy(
    to: String,
    login: Option<&'static str>,
) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, asking) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (to, asked) = (to.clone(), asked.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                if login.is_some_and(|login| !head.contains(login)) {
                    let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
                    return client.write_all(answer.as_bytes()).await;
                }
                let _ = asked.send(head.lines().next().unwrap().to_owned());
                let mut hub = tokio::net::TcpStream::connect(to).await?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                tokio::io::copy_bidirectional(&mut client, &mut hub).await?;
                Ok(())
            });
        }
    });
    (address, asking)
}

#[tokio::test]
async fn through_a_proxy_and_by_an_authority_of_ones_own() {
    let place = Place::new().await;
    let (files, _) = Files::new();
    let hub = start(serve(&place, &files.certificate(), &files.key()));
    let address = hub.address().trim_start_matches("https://").to_owned();
    // The certificate is for `localhost`. Only the proxy can reach the hub at this port.
    let url = "https://localhost:1";
    let client = |options: NetworkOptions| {
        let network = Network::new(&options).unwrap();
        HubClient::through(&network, url.parse().unwrap(), None).unwrap()
    };
    let (proxy, mut asked) = connect_proxy(address.clone(), None).await;
    let options = NetworkOptions {
        https_proxy: Some(proxy.clone()),
        ca_file: Some(files.certificate()),
        ..NetworkOptions::default()
    };
    client(options.clone()).version().await.unwrap();
    assert_eq!(asked.recv().await.unwrap(), "CONNECT localhost:1 HTTP/1.1");

    // This client bypasses the proxy.
    let direct = client(NetworkOptions {
        no_proxy: Some("localhost".to_owned()),
        ..options.clone()
    });
    assert!(direct.version().await.unwrap_err().is_connect());
    // This client does not have the CA file.
    let untrusting = client(NetworkOptions {
        ca_file: None,
        ..options.clone()
    });
    let error = untrusting.version().await.unwrap_err();
    assert!(error.is_untrusted() && error.passes().is_none(), "{error}");
    assert!(error.hint().unwrap().contains("--ca-file"));

    // This proxy requires a login.
    let (closed, _asked) = connect_proxy(address, Some("Basic YWxpY2U6c2VjcmV0")).await;
    let with = |proxy: String| {
        client(NetworkOptions {
            https_proxy: Some(proxy),
            ..options.clone()
        })
    };
    let error = with(closed.clone()).version().await.unwrap_err();
    assert!(error.passes().is_none(), "{error:?}");
    assert!(error.hint().unwrap().contains("USER:PASSWORD"));
    let known = closed.replace("http://", "http://alice:secret@");
    with(known).version().await.unwrap();
}
