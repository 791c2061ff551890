//! A request over a limit gets a clear answer.

use bytes::Bytes;
use dotmesh_api::ErrorCode;
use dotmesh_api::hub::{FinishUpload, MAX_COMMITS_PER_PUSH, MAX_HASHES, MAX_PACK_LENGTH};
use dotmesh_hub_db::users::NewUser;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object, PackReader};

use crate::ambient;
use crate::support::{TestHub, commit, dot, files, pack, push_first, refused, root_commit};

#[tokio::test]
async fn too_much_of_anything() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (first, _) = push_first(&alice, &app, b"one").await;
    let upload = alice.begin_upload(&app).await.unwrap();
    let hashes = vec![ObjectHash::from_bytes([1; 32]); MAX_HASHES];
    assert_eq!(
        alice.missing(&app, &upload, &hashes).await.unwrap().len(),
        MAX_HASHES
    );
    let hashes = vec![ObjectHash::from_bytes([1; 32]); MAX_HASHES + 1];
    refused(
        alice.missing(&app, &upload, &hashes).await,
        ErrorCode::TooLarge,
    );
    refused(alice.objects(&app, &hashes).await, ErrorCode::TooLarge);
    let body = Bytes::from(vec![0; MAX_PACK_LENGTH + 1]);
    refused(
        alice.send_pack(&app, &upload, body).await,
        ErrorCode::TooLarge,
    );
    let commits = vec![first.sealed; MAX_COMMITS_PER_PUSH + 1];
    let request = FinishUpload {
        commits,
        branches: Vec::new(),
    };
    refused(
        alice.finish_upload(&app, &upload, &request).await,
        ErrorCode::TooLarge,
    );
}

#[tokio::test]
async fn an_answer_that_does_not_fit_into_a_pack_is_as_much_as_fits() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    // Incompressible chunks of 64 KiB, more than fit in one pack.
    let contents: Vec<Vec<u8>> = (0..600u32)
        .map(|n| {
            let seed = Object::new(Kind::Chunk, n.to_le_bytes().to_vec());
            let mut state = u64::from_le_bytes(seed.hash().as_bytes()[..8].try_into().unwrap());
            let mut content = Vec::with_capacity(64 << 10);
            while content.len() < 64 << 10 {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                content.extend_from_slice(&(state >> 32).to_le_bytes()[..4]);
            }
            content
        })
        .collect();
    let upload = alice.begin_upload(&app).await.unwrap();
    let mut commits = Vec::new();
    let mut asked = Vec::new();
    for contents in contents.chunks(10) {
        let names: Vec<String> = (0..contents.len()).map(|n| format!("f{n}")).collect();
        let list: Vec<(&str, &[u8])> = names
            .iter()
            .map(String::as_str)
            .zip(contents.iter().map(Vec::as_slice))
            .collect();
        let files = files(&list);
        alice
            .send_pack(&app, &upload, pack(&files.objects))
            .await
            .unwrap();
        commits.push(commit(commits.last().unwrap_or(&root_commit()), &files).clone());
        asked.extend(files.objects);
    }
    let commits = commits.into_iter().map(|made| made.sealed).collect();
    let request = FinishUpload {
        commits,
        branches: Vec::new(),
    };
    alice.finish_upload(&app, &upload, &request).await.unwrap();
    let mut got = 0;
    let mut requests = 0;
    while got < asked.len() {
        let hashes: Vec<_> = asked[got..].iter().map(Object::hash).collect();
        let pack = alice.objects(&app, &hashes).await.unwrap();
        for frame in PackReader::new(pack).unwrap() {
            assert_eq!(frame.unwrap().object().unwrap(), asked[got]);
            got += 1;
        }
        requests += 1;
    }
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn bad_addresses_get_the_envelope() {
    let hub = TestHub::start().await;
    let http = reqwest::Client::new();
    for (method, path, status) in [
        ("GET", "/-/nothing", 404),
        ("GET", "/api/v2/version", 404),
        ("POST", "/api/v1/version", 405),
        ("GET", "/api/v1/dots/a/b/c", 404),
    ] {
        let request = http.request(method.parse().unwrap(), format!("{}{path}", hub.url));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        let _: dotmesh_api::Problem = response.json().await.unwrap();
    }
}

#[tokio::test]
async fn bad_names_are_refused() {
    let hub = TestHub::start().await;
    let key = dotmesh_hub_model::credentials::ApiKey::generate(&ambient::random());
    let name = "alice".parse().unwrap();
    let now = crate::ambient::now();
    hub.hub
        .database
        .add_user(&name, &NewUser::with_key(key.digest()), now)
        .await
        .unwrap();
    for path in [
        "dots/a.b/c",
        "dots/a/-c",
        "dots/a/b%2fc",
        "dots/%ff/c",
        "dots/a/b/commits?head=1",
    ] {
        let url = format!("{}/api/v1/{path}", hub.url);
        let request = reqwest::Client::new()
            .get(url)
            .basic_auth("alice", Some(key.reveal()));
        let status = request.send().await.unwrap().status().as_u16();
        let expected = if path.contains("head") { 404 } else { 400 };
        assert_eq!(status, expected, "{path}");
    }
}
