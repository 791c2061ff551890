//! A hub behind nginx: with nginx's defaults, and with the configuration in `docs/hub.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use dotmesh_api::{HubAddress, HubClient};
use dotmesh_model::CommitId;
use dotmesh_sync::{HubSource, Progress, Target, greet, materialise};
use tokio::net::{TcpListener, TcpStream};

use crate::cuts::{noise, noise_bytes, push, root_of};
use crate::supervised::{Says, Supervised};
use crate::support::{TestHub, dot};

/// An address that no other test uses.
fn own_address(number: u8) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, high, low, number), 18080))
}

/// nginx on its own address. The server stops when this value is dropped.
struct Nginx {
    address: HubAddress,
    _server: Supervised,
}

impl Nginx {
    /// Starts nginx with the contents of a `server` block, without its address.
    fn start(number: u8, server: &str) -> Self {
        let address = own_address(200 + number);
        let folder = tempfile::tempdir().unwrap().keep();
        let config = format!(
            "daemon off;\nmaster_process off;\nerror_log stderr notice;\npid {folder}/pid;\n\
             events {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path {folder}/body;\n\
             proxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
             uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
             server {{\nlisten {address};\n{server}\n}}\n}}\n",
            folder = folder.display(),
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("nginx");
        nginx
            .args(["-e", "stderr", "-c"])
            .arg(folder.join("nginx.conf"));
        // nginx prints this line once it listens.
        let listens = |line: &str| line.contains("nginx/").then(String::new);
        let (server, _) = Supervised::start(folder, &nginx, Says::Error(listens));
        Self {
            address: format!("http://{address}").parse().unwrap(),
            _server: server,
        }
    }

    fn client(&self, of: &HubClient, secret: &str) -> HubClient {
        HubClient::new(
            self.address.clone(),
            of.user().unwrap().clone(),
            secret.to_owned(),
        )
        .unwrap()
    }
}

/// The configuration in `docs/hub.md`, for the hub at this address.
fn documented(hub: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hub.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```nginx\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    assert!(block.contains("http://127.0.0.1:8180"), "{block}");
    block.replace("http://127.0.0.1:8180", hub)
}

fn fill(folder: &Path) {
    let mut next = noise(3);
    let bytes = noise_bytes(&mut next, 1_500_000);
    std::fs::write(folder.join("file"), bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_it_comes_takes_no_packs_and_the_error_says_what_to_set() {
    let hub = TestHub::start().await;
    let (alice, secret) = hub.user_with_secret("alice").await;
    let nginx = Nginx::start(1, &format!("location / {{ proxy_pass {}; }}", hub.url));
    let client = nginx.client(&alice, &secret);
    let data = tempfile::tempdir().unwrap();
    fill(data.path());
    let commit = CommitId::from_bytes([7; 16]);
    let app = dot("alice/app");
    let error = push(&client, &app, data.path(), commit).await.unwrap_err();
    let says = "answered with status 413 Payload Too Large";
    assert!(error.contains(says), "{error}");

    let upload = client.begin_upload(&app).await.unwrap();
    let pack = vec![0; 8 << 20].into();
    let error = client.send_pack(&app, &upload, pack).await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("'client_max_body_size 64m;'"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_documented_passes_transfers_on_and_a_hub_that_is_away_is_waited_for() {
    let hub = TestHub::start().await;
    let (alice, secret) = hub.user_with_secret("alice").await;
    // No server listens there yet.
    let address = own_address(210);
    let nginx = Nginx::start(2, &documented(&format!("http://{address}")));
    let client = nginx.client(&alice, &secret);
    let progress = Progress::default();
    let come = async {
        while !progress.snapshot().phase.contains("status 502") {
            tokio::task::yield_now().await;
        }
        let listener = TcpListener::bind(address).await.unwrap();
        let hub = hub.url.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut to = TcpStream::connect(&hub).await.unwrap();
                tokio::spawn(
                    async move { tokio::io::copy_bidirectional(&mut from, &mut to).await },
                );
            }
        });
    };
    tokio::join!(async { greet(&client, &progress).await.unwrap() }, come);

    let (data, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(data.path());
    let (app, commit) = (dot("alice/app"), CommitId::from_bytes([7; 16]));
    let root = push(&client, &app, data.path(), commit).await.unwrap();
    let source = HubSource::new(client, app, Default::default(), Default::default());
    let target = Target {
        root,
        base: None,
        into: into.path().to_owned(),
        resumed: false,
    };
    materialise(&source.into(), &target, &Default::default())
        .await
        .unwrap();
    assert_eq!(root_of(into.path()).await, root);
}
