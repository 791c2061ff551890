//! Random switches with failures, races and restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::bench::{Bench, depends};
use crate::engine::scripted::{Fault, Outcome};

/// Thousands of switches, with failures, races and restarts.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forgotten_and_nothing_is_on_the_wrong_branch() {
    let seeds: u64 = std::env::var("SWITCHES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(100);
    let tasks: Vec<_> = (0..12_u64)
        .map(|task| {
            tokio::spawn(async move {
                for seed in (task..seeds).step_by(12) {
                    random_life(seed).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn random_life(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new(|world| {
        world.create("db", &["app.db"], depends("", ""));
        world.create("web", &["app.files"], depends("db", "service_healthy"));
        world.create("cache", &["app.db"], depends("", ""));
        world.create(
            "worker",
            &["app.files", "app.db"],
            depends("web", "service_started"),
        );
        world.create("side", &[], |one| {
            one.namespaces = vec!["container:db".to_owned()];
        });
    })
    .await;
    for step in 0..20 {
        let what = format!("seed {seed}, step {step}");
        if random.random_ratio(1, 3) {
            bench
                .world
                .turns_out("db", Outcome::HealthyAfter(random.random_range(0..4)));
        }
        for _ in 0..random.random_range(0..3) {
            let fault = Fault::ALL[random.random_range(0..Fault::ALL.len())];
            // Removal has its own test. Here all containers must run in the end.
            if fault != Fault::Removed {
                bench.world.fault(random.random_range(0..40), fault);
            }
        }
        let ran = bench.running();
        let to = if bench.current().await == "master" {
            "other"
        } else {
            "master"
        };
        let new = format!("new-{step}");
        let kind = random.random_range(0..6);
        let switch = async {
            let outcome = match kind {
                0 => bench.reset().await,
                // Only from `master`, since `expected` assumes its mark in new branches.
                1 if to == "other" => bench.checkout(&new, true).await,
                _ => bench.checkout(to, false).await,
            };
            outcome.map_err(|error| error.to_string())
        };
        let (victim, delay) = (
            ["web", "cache"][random.random_range(0..2)],
            random.random_range(0..60),
        );
        let (meddles, kills, dies) = (
            random.random_ratio(1, 3),
            random.random_ratio(1, 8),
            random.random_ratio(1, 6),
        );
        let meddle = async {
            for _ in 0..delay {
                tokio::task::yield_now().await;
            }
            if kills {
                bench.world.restart_engine().await;
            } else if meddles {
                let _ = bench.world.start_by_hand(victim).await;
            }
        };
        let outcome = if dies {
            let limit = Duration::from_micros(random.random_range(0..20_000));
            let cut = tokio::time::timeout(limit, async { tokio::join!(switch, meddle) }).await;
            let outcome = cut.map(|(outcome, ())| outcome);
            bench.restart().await;
            format!("{outcome:?}")
        } else {
            let (outcome, ()) = tokio::join!(switch, meddle);
            bench
                .assert_allowed(&BTreeSet::new(), &format!("{what}: {outcome:?}"))
                .await;
            format!("{outcome:?}")
        };
        // If the Engine's death stopped the containers, the Engine must start them.
        let shall_run = if kills { BTreeSet::new() } else { ran };
        bench
            .settle(&shall_run, &format!("{what}: {outcome}"))
            .await;
        for name in ["db", "web", "cache", "worker", "side"] {
            let _ = bench.world.start_by_hand(name).await;
        }
    }
}
