//! The demo's script runs with the declared programs and no others.

use std::path::Path;

use anyhow::{Context as _, Result};
use dotmesh_testkit::Machine;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_plays_and_takes_itself_away() -> Result<()> {
    let machine = Machine::start("demo").await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/demo.sh");
    let script = script.canonicalize()?;
    let script = script.display();
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).context("target/PROFILE")?;
    let environment = format!("DEMO_BIN={} DEMO_FOLDER=$HOME/demo", built.display());
    let start = format!("{environment} {script} start");
    let played = machine.run(&start).await.success();
    assert!(
        played.stdout.contains("newuser1 sees the pirate flag."),
        "{}",
        played.stdout
    );
    // It ends with two forks side by side, and tells where they are.
    let told = "The app has 0 users, and its fork has 11.";
    assert!(played.stdout.contains(told), "{}", played.stdout);
    let address = |what: &str| {
        let line = played.stdout.lines().find(|line| line.contains(what));
        let mut words = line.unwrap_or_default().split_whitespace();
        words.find(|word| word.starts_with("http"))
    };
    let app = address("Alice's app, on the empty state:").context("the app's address")?;
    let fork = address("its fork, with eleven users:").context("the fork's address")?;
    assert_ne!(app, fork);
    for url in [app, fork] {
        machine
            .run(&format!("curl -fsS -m 10 -o /dev/null {url}"))
            .await
            .success();
    }
    let stop = format!("{environment} {script} stop");
    machine
        .run("HOME=$HOME/demo/bob DOTMESH_SOCKET=/run/dotmesh/bob.sock dm init mine")
        .await
        .success();
    let refused = machine.run(&stop).await.failure();
    assert!(
        refused.stderr.contains("would be deleted: mine\n"),
        "{}",
        refused.stderr
    );
    machine.run(&format!("FORCE=1 {stop}")).await.success();
    let left = machine.run("ls -A; docker ps -aq; find /run -name '*.sock' -path '*dotmesh*'");
    assert_eq!(left.await.success().stdout, "");
    Ok(())
}
