//! A soak test that shows that nothing is lost: real daemons and databases, a write load, random operations and
//! faults.
//!
//! `make soak MINUTES=60 SEED=1` runs it. docs/reliability.md says what it checks, and how to extend it. An operation
//! or a fault is a variant in `step.rs`, and its code is in `operations.rs` or `faults.rs`. The invariants are in
//! `model.rs` and `rows.rs`.

mod databases;
mod dice;
mod evidence;
mod faults;
mod flips;
mod model;
mod operations;
mod proxy;
mod repack;
mod report;
mod rows;
mod step;
mod verify;
mod world;
mod writer;

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use crate::dice::Dice;
use crate::step::Step;
use crate::world::World;

/// The short form, which `make test` runs: always the same steps.
const MINUTES: u64 = 2;
const SEED: u64 = 13;

/// The number of commits that the random operations and the end of the test may still verify.
const KEEP_UNVERIFIED: usize = 4;

#[expect(
    clippy::disallowed_methods,
    reason = "a long soak takes another seed each time"
)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost() -> Result<()> {
    let minutes = number("SOAK_MINUTES")?;
    let seed = match (number("SOAK_SEED")?, minutes) {
        (Some(seed), _) => seed,
        (None, None) => SEED,
        (None, Some(_)) => {
            u64::from(std::process::id()) ^ jiff::Timestamp::now().as_second().unsigned_abs()
        }
    };
    let minutes = minutes.unwrap_or(MINUTES);
    let fill_node_disk = number("SOAK_FILL_NODE_DISK")? != Some(0);
    let mut world = World::start(seed).await?;
    world
        .report
        .say(&format!("SEED={seed} repeats these steps"));
    let ended = soak(
        &mut world,
        seed,
        Duration::from_secs(60 * minutes),
        fill_node_disk,
    )
    .await;
    if let Err(problem) = &ended {
        world
            .report
            .violation(&format!("the soak cannot go on: {problem:#}"));
    }
    if !world.report.is_clean() {
        world.show_evidence().await?;
    }
    world
        .report
        .say(&format!("the soak has ended\n{}", world.report));
    assert!(world.report.is_clean(), "something was lost, see above");
    Ok(())
}

async fn soak(world: &mut World, seed: u64, time: Duration, fill_node_disk: bool) -> Result<()> {
    let began = Instant::now();
    world.begin().await.context("begin")?;
    let mut dice = Dice::new(seed);
    while began.elapsed() < time * 9 / 10 && world.report.is_clean() {
        let step = Step::roll(&mut dice, fill_node_disk);
        world.report.steps += 1;
        world
            .perform(&step)
            .await
            .with_context(|| format!("step {} of seed {seed}, {step:?}", world.report.steps))?;
        verify_some(world, step.node, KEEP_UNVERIFIED).await?;
    }
    // Verify the remaining commits. Each must exist, and databases must start from it.
    for node in 0..world.nodes.len() {
        world.go_on_writing(node, false).await?;
        world.look_for_commits(node).await?;
        verify_some(world, node, 0).await?;
    }
    Ok(())
}

/// Starts the databases from unverified commits, until only `leave` of them remain.
async fn verify_some(world: &mut World, node: usize, leave: usize) -> Result<()> {
    while world.report.is_clean() {
        let mut unverified = world.unverified(node);
        let Some(commit) = unverified.pop().filter(|_| unverified.len() >= leave) else {
            break;
        };
        world.go_on_writing(node, false).await?;
        world.reset(node, &commit, &[]).await?;
    }
    Ok(())
}

/// Reads a number from the environment.
fn number(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            let number = text.parse();
            Ok(Some(number.with_context(|| format!("{name}={text}"))?))
        }
        _ => Ok(None),
    }
}
