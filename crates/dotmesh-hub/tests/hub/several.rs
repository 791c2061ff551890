//! Several processes that share PostgreSQL and a bucket, and nothing else. Any of them may be killed, and another
//! continues.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dotmesh_api::{ClientError, ErrorCode, HubAddress, HubClient};
use dotmesh_model::CommitId;
use dotmesh_sync::{HubSource, Target, materialise};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::ambient;
use crate::cli::{Serving, start};
use crate::cuts::{noise, noise_bytes, push, root_of};
use crate::place::Place;
use crate::support::{commit, dot, files, finish, pack, push_first, root_commit, update};

/// The bytes that may be in flight when a process is killed.
const UNDER_WAY: u64 = 32 << 20;

fn serve(place: &Place) -> Serving {
    start(place.dothub(&["serve", "--listen", "127.0.0.1:0"]))
}

/// Forwards everything to the first of two hubs until it has received a number of bytes. Then kills it, and forwards
/// everything to the second.
struct Balancer {
    address: String,
    up: Arc<AtomicU64>,
    first: Arc<Mutex<Option<Serving>>>,
}

impl Balancer {
    async fn before(first: Option<Serving>, second: &Serving, budget: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let up = Arc::<AtomicU64>::default();
        let passed = Arc::clone(&up);
        let first = Arc::new(Mutex::new(first));
        let alive = Arc::clone(&first);
        let second = second.address().to_owned();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let to = match &*first.lock().await {
                    Some(first) => first.address().to_owned(),
                    None => second.clone(),
                };
                let mut server = TcpStream::connect(to).await.unwrap();
                let (first, passed) = (Arc::clone(&first), Arc::clone(&passed));
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.split();
                    let (mut from_server, mut to_server) = server.split();
                    let up = async {
                        let mut bytes = vec![0; 16 << 10];
                        loop {
                            let read = from_client.read(&mut bytes).await?;
                            if read == 0 {
                                return Ok(());
                            }
                            to_server.write_all(&bytes[..read]).await?;
                            if passed.fetch_add(read as u64, Ordering::Relaxed) >= budget
                                && let Some(first) = first.lock().await.take()
                            {
                                first.kill();
                            }
                        }
                    };
                    let down = tokio::io::copy(&mut from_server, &mut to_client);
                    tokio::select! {
                        ended = up => ended,
                        ended = down => ended.map(drop),
                    }
                });
            }
        });
        Self {
            address,
            up,
            first: alive,
        }
    }
}

async fn is_back(alice: &HubClient, name: &str, data: &Path) {
    let root = root_of(data).await;
    let into = tempfile::tempdir().unwrap();
    let target = Target {
        root,
        base: None,
        into: into.path().to_owned(),
        resumed: false,
    };
    let source = HubSource::new(alice.clone(), dot(name), Arc::default(), Arc::default());
    materialise(&Arc::new(source), &target, &Arc::default())
        .await
        .unwrap();
    assert_eq!(root_of(into.path()).await, root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_killed_in_the_middle_of_a_push_and_another_finishes_it() {
    let place = Place::shared().await;
    let key = place.hub_with_user("alice").await;
    let second = serve(&place);
    let direct = second.client("alice", &key);
    let mut next = noise(11);
    let mut whole = 0;
    // The part of the push that the first process receives, in thousandths. In the first round it receives
    // everything.
    for (round, part) in [1000, 0, 300, 800, 995, 999].into_iter().enumerate() {
        let data = tempfile::tempdir().unwrap();
        for file in 0..6 {
            let bytes = noise_bytes(&mut next, 200_000);
            std::fs::write(data.path().join(format!("file{file}")), bytes).unwrap();
        }
        let kill = part < 1000;
        let first = kill.then(|| serve(&place));
        let balancer = Balancer::before(first, &second, whole * part / 1000).await;
        let address: HubAddress = balancer.address.parse().unwrap();
        let client = HubClient::new(address, "alice".parse().unwrap(), key.clone()).unwrap();
        let name = format!("alice/app{round}");
        let id = CommitId::from_bytes([round as u8 + 1; 16]);
        // The client retries by itself, or fails and is started once more.
        if let Err(error) = push(&client, &dot(&name), data.path(), id).await {
            assert!(kill, "{error}");
            push(&client, &dot(&name), data.path(), id).await.unwrap();
        }
        let up = balancer.up.load(Ordering::Relaxed);
        if kill {
            assert!(balancer.first.lock().await.is_none(), "it was killed");
            assert!(up < whole + UNDER_WAY, "{up} bytes for {whole}");
        } else {
            whole = up;
        }
        let told = direct.dot(&dot(&name)).await.unwrap().unwrap();
        assert_eq!(told.branches[0].head, id);
        is_back(&direct, &name, data.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_through_another_process() {
    let place = Place::shared().await;
    let key = place.hub_with_user("alice").await;
    let (first, second) = (serve(&place), serve(&place));
    let (one, two) = (first.client("alice", &key), second.client("alice", &key));
    let app = dot("alice/app");
    let files = files(&[("a", b"one"), ("b", &[7; 60_000])]);
    let (acknowledged, rest) = files.objects.split_at(1);
    let upload = one.begin_upload(&app).await.unwrap();
    one.send_pack(&app, &upload, pack(acknowledged))
        .await
        .unwrap();

    // The process dies after half of a pack.
    let body = pack(rest);
    let mut connection = TcpStream::connect(first.address()).await.unwrap();
    let head = format!(
        "POST /api/v1/dots/alice/app/uploads/{}/packs HTTP/1.1\r\nHost: hub\r\n{}\r\nContent-Length: {}\r\n\r\n",
        upload.id,
        basic("alice", &key),
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let half = &body[..body.len() / 2];
    connection.write_all(half).await.unwrap();
    first.kill();
    assert!(one.current_user().await.is_err());

    let missing = two.missing(&app, &upload, &files.hashes()).await.unwrap();
    assert_eq!(missing, files.hashes()[1..]);
    two.send_pack(&app, &upload, pack(rest)).await.unwrap();
    let made = commit(&root_commit(), &files);
    let request = finish(&[&made], vec![update(None, &made)]);
    two.finish_upload(&app, &upload, &request).await.unwrap();
    two.objects(&app, &files.hashes()).await.unwrap();
}

fn basic(user: &str, secret: &str) -> String {
    use base64::Engine as _;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
    format!("Authorization: Basic {login}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_killed_while_it_finishes_a_push() {
    let place = Place::shared().await;
    let key = place.hub_with_user("alice").await;
    let second = serve(&place);
    let two = second.client("alice", &key);
    for round in 0..8 {
        let first = serve(&place);
        let one = first.client("alice", &key);
        let app = dot(&format!("alice/app{round}"));
        let files = files(&[("a", format!("{round}").as_bytes())]);
        let upload = one.begin_upload(&app).await.unwrap();
        let objects = pack(&files.objects);
        one.send_pack(&app, &upload, objects).await.unwrap();
        let made = commit(&root_commit(), &files);
        let request = finish(&[&made], vec![update(None, &made)]);
        let finishing = tokio::spawn({
            let (app, upload, request) = (app.clone(), upload.clone(), request.clone());
            async move { one.finish_upload(&app, &upload, &request).await }
        });
        // Kill it at a different time in each round.
        for _ in 0..round {
            two.current_user().await.unwrap();
        }
        first.kill();
        let _ = finishing.await.unwrap();
        // The result is the same, whether the first request finished or not.
        two.finish_upload(&app, &upload, &request).await.unwrap();
        let told = two.dot(&app).await.unwrap().unwrap();
        assert_eq!(told.branches[0].head, made.id);
        two.objects(&app, &files.hashes()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_to_two_processes_at_once_gets_one_answer() {
    let place = Place::shared().await;
    let key = place.hub_with_user("alice").await;
    let (first, second) = (serve(&place), serve(&place));
    let (one, two) = (first.client("alice", &key), second.client("alice", &key));
    for round in 0..8 {
        let app = dot(&format!("alice/app{round}"));
        let files = files(&[("a", format!("{round}").as_bytes())]);
        let upload = one.begin_upload(&app).await.unwrap();
        let objects = pack(&files.objects);
        two.send_pack(&app, &upload, objects).await.unwrap();
        let made = commit(&root_commit(), &files);
        let request = finish(&[&made], vec![update(None, &made)]);
        let (left, right) = tokio::join!(
            one.finish_upload(&app, &upload, &request),
            two.finish_upload(&app, &upload, &request)
        );
        left.unwrap();
        right.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_through_two_processes_one_wins() {
    let place = Place::shared().await;
    let key = place.hub_with_user("alice").await;
    let (first, second) = (serve(&place), serve(&place));
    let (one, two) = (first.client("alice", &key), second.client("alice", &key));
    let app = dot("alice/app");
    let (mut base, _) = push_first(&one, &app, b"base").await;
    for round in 0..8 {
        let made = ["left", "right"].map(|side| {
            let files = files(&[("a", format!("{side} {round}").as_bytes())]);
            (commit(&base, &files), files)
        });
        let [(left, left_files), (right, right_files)] = made;
        let answers = tokio::join!(
            crate::support::push(&one, &app, Some(&base), &left, &left_files),
            crate::support::push(&two, &app, Some(&base), &right, &right_files)
        );
        let refused = |answer: &Result<(), ClientError>| match answer {
            Err(ClientError::Refused(body)) => {
                matches!(body.code, ErrorCode::Behind | ErrorCode::Diverged)
            }
            _ => false,
        };
        let won = match answers {
            (Ok(()), answer) if refused(&answer) => left,
            (answer, Ok(())) if refused(&answer) => right,
            both => panic!("{both:?}"),
        };
        let told = one.dot(&app).await.unwrap().unwrap();
        assert_eq!(told.branches[0].head, won.id);
        base = won;
    }
}

#[tokio::test]
async fn a_lease_has_one_holder() {
    let place = Place::new().await;
    let (one, two) = (place.database().await, place.database().await);
    let now = ambient::now();
    let (soon, later) = (
        now + Duration::from_secs(60),
        now + Duration::from_secs(120),
    );
    assert!(one.lease("job", "one", now, soon).await.unwrap());
    assert!(!two.lease("job", "two", now, later).await.unwrap());
    assert!(two.lease("another", "two", now, soon).await.unwrap());
    // The renewed lease is still valid at its former end.
    assert!(one.lease("job", "one", now, later).await.unwrap());
    assert!(!two.lease("job", "two", soon, later).await.unwrap());
    assert!(two.lease("job", "two", later, later).await.unwrap());
}

#[tokio::test]
async fn without_a_folder_everything_is_elsewhere() {
    let place = Place::shared().await;
    let key = place.hub_with_user("alice").await;
    let hub = serve(&place);
    let alice = hub.client("alice", &key);
    push_first(&alice, &dot("alice/app"), b"one").await;
    assert!(place.is_empty());
    assert!(hub.terminate().success());

    // Without a bucket the hub needs a folder for objects, and says so.
    let mut command = place.dothub(&["serve", "--listen", "127.0.0.1:0"]);
    let refused = command.env_remove("DOTHUB_STORE_URL").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("hint: give --data"), "{text}");
}

#[test]
fn what_is_no_database_is_said_at_once_and_without_its_password() {
    let place = Place::folder(tempfile::tempdir().unwrap());
    for url in [
        "mysql://u:secret@localhost/d",
        "postgres://u:secret@127.0.0.1:1/d?password=secret",
        "postgres://u:secret@",
        "secret",
    ] {
        let mut command = place.dothub(&["user", "list"]);
        let refused = command.env("DOTHUB_DATABASE_URL", url).output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{url}");
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(text.starts_with("error: cannot use the database"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
