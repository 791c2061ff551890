//! A commit may contain items that a push cannot send. The push leaves these out, and all users are told.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Hub, Node, SOON};

/// Lists everything below a folder, with types, sizes, link targets and attributes.
const LISTING: &str = r"find . -printf '%y %m %s %P -> %l\n' | sort; getfattr -h -R -d . | sort";

impl Node {
    /// The folder of the working copy that contains a file of this name, as root sees it.
    async fn folder(&self, marker: &str) -> String {
        let line = format!(
            "dirname $(find /var/lib/dotmesh /var/lib/pool -path '*/branches/*' -name {marker} 2>/dev/null)"
        );
        self.ok(&line).await.trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_travel_is_left_out_and_told_everywhere() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    // The user's own file system has btrfs nodes of 16 KiB. The pool's file has nodes of 4 KiB.
    let machine = network.machine("alice").await?;
    let made = "mkdir -p /var/lib/pool && truncate -s 2G own.img && mkfs.btrfs -q --nodesize 16384 own.img && mount -o loop own.img /var/lib/pool && mkdir /var/lib/pool/dm";
    machine.run(made).await.success();
    let (alice, bob) = tokio::try_join!(
        Node::start_in(machine, &["--pool", "/var/lib/pool/dm"]),
        Node::start(&network, "bob")
    )?;
    let key = hub.add_user("alice").await?;
    let remote = format!("echo {key} | dm remote add hub alice@{}", hub.url);
    alice.ok(&remote).await;
    bob.ok(&remote).await;

    // Any container can make such items.
    let deep = "/v/deep/".to_owned() + &"d/".repeat(300);
    alice
        .in_volume(
            "app",
            &format!("mknod /v/null c 1 3; mkfifo /v/pipe; mkdir -p {deep}; echo deep >{deep}/file; echo kept >/v/kept; echo 5000 >/v/large"),
        )
        .await;
    let folder = alice.folder("large").await;
    let set = |name: &str, length: usize| {
        format!("setfattr -n user.{name} -v $(printf %0{length}d 0) {folder}/large")
    };
    alice.ok(&set("large", 5000)).await;
    alice.ok(&set("small", 100)).await;
    let commit = alice.ok("dm commit -m everything").await.trim().to_owned();

    // The next commands list the items, before any push.
    wait_for("the commit to be looked through", SOON, async || {
        let told = alice.told("dm list").await;
        ensure!(told.contains("3 items that cannot be pushed"), "{told}");
        ensure!(told.contains("null: a device node"), "{told}");
        ensure!(told.contains("extended attribute user.large"), "{told}");
        ensure!(told.contains("more than 256 folders deep"), "{told}");
        Ok(())
    })
    .await?;
    assert!(alice.ok("dm log").await.contains("null: a device node"));

    let told = alice.told("dm push hub").await;
    assert!(
        told.contains("Left out 3 items that cannot be pushed:"),
        "{told}"
    );
    assert!(told.contains("null: a device node"), "{told}");

    let api = format!("{}/api/v1/dots/alice/app", hub.url);
    let list = alice
        .ok(&format!(
            "curl -fsS -u alice:{key} '{api}/commits?head={commit}'"
        ))
        .await;
    assert!(list.contains(r#""left_out":{"count":3,"#), "{list}");
    alice
        .ok(&format!(
            "curl -fsS -u alice:{key} -X PATCH {api}/settings -d '{{\"visibility\":\"public\"}}'"
        ))
        .await;
    let page = alice
        .ok(&format!("curl -fsS {}/alice/app/commit/{commit}", hub.url))
        .await;
    assert!(page.contains("Left out: 3 items"), "{page}");
    assert!(page.contains("a device node"), "{page}");

    // Another pool, with smaller btrfs nodes, takes everything that was sent, and knows what was left out.
    let told = bob.told("dm clone hub app").await;
    assert!(told.contains("came without 3 items"), "{told}");
    assert!(told.contains("null: a device node"), "{told}");
    let told = bob.ok("dm switch app && dm dot show").await;
    assert!(told.contains("null: a device node"), "{told}");
    alice
        .ok(&format!(
            "cd {folder} && rm null && setfattr -x user.large large && rm -r deep/{}",
            "d/".repeat(254)
        ))
        .await;
    let theirs = bob.folder("large").await;
    let original = alice.ok(&format!("cd {folder} && {LISTING}")).await;
    assert!(
        original.contains("user.small") && original.contains("kept"),
        "{original}"
    );
    assert_eq!(bob.ok(&format!("cd {theirs} && {LISTING}")).await, original);

    // Bob continues from there. His commit lacks nothing that he has, and later pushes send only changes.
    bob.in_volume("app", "echo more >/v/more").await;
    bob.ok("dm commit -m more").await;
    let told = bob.told("dm push hub").await;
    assert!(!told.contains("Left out"), "{told}");
    alice.ok("dm commit -m clean").await;
    wait_for("nothing to be left out", SOON, async || {
        let told = alice.told("dm list").await;
        ensure!(!told.contains("cannot be pushed"), "{told}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_record_nobody_could_read_is_refused() -> Result<()> {
    let network = Network::start().await?;
    let node = Node::start(&network, "alice").await?;
    node.in_volume("app", "echo 1 >/v/file").await;
    node.ok("head -c 1200000 /dev/zero | tr '\\0' m >message")
        .await;
    // A program's argument has at most 128 KiB, so the message goes through the API.
    let request = "(printf '{\"author\":\"a\",\"message\":\"'; cat message; printf '\"}') | curl -sS --unix-socket /run/dotmesh/api.sock -H 'Content-Type: application/json' --data-binary @- http://node/v1/dots/admin/app/commits";
    let refused = node.ok(request).await;
    assert!(refused.contains("Shorten the message"), "{refused}");
    assert_eq!(node.commits("").await?, serde_json::json!([]));
    Ok(())
}
