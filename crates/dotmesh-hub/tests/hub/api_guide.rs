//! The examples of `docs/api.md`, run in a shell against a hub.

use dotmesh_testkit::guide::Example;

use crate::support::{TestHub, dot, push_first};

const GUIDE: &str = include_str!("../../../../docs/api.md");

#[tokio::test]
async fn the_guides_examples_do_what_it_says() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    for example in Example::all_of(GUIDE) {
        example.check(&[("HUB", &hub.url), ("KEY", &key)]).await;
    }
}
