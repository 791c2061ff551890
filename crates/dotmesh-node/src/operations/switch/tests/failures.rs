//! Tests in which each call to the Engine fails in turn, or the daemon dies at it.

use super::bench::{TIMING, Work, each, work};
use crate::engine::scripted::Fault;

/// Each call of a switch fails in turn, in every way.
#[tokio::test(flavor = "multi_thread")]
async fn each_call_fails_in_turn() {
    let mut cases = Vec::new();
    for kind in Work::ALL {
        let bench = kind.bench().await;
        work(&bench, kind).await.unwrap();
        let calls = bench.world.calls();
        assert!(calls.len() > 8, "{calls:?}");
        for (at, call) in calls.into_iter().enumerate() {
            cases.extend(Fault::ALL.map(|fault| (kind, at, call.clone(), fault)));
        }
    }
    each(cases, |(kind, at, call, fault)| async move {
        let what = format!("{kind:?}, {fault:?} at call {at}, '{call}'");
        let bench = kind.bench().await;
        let ran = bench.running();
        bench.world.fault(at, fault);
        let outcome = work(&bench, kind).await;
        // The number of health checks differs, so the same index may be another call after the first switch.
        if fault == Fault::Refused
            && !matches!(kind, Work::Stash)
            && let (Err(error), Some(("stop" | "start", name))) = (&outcome, call.split_once(' '))
        {
            let text = error.to_string();
            assert!(
                text.contains(name) && text.contains("no space left"),
                "{what}: {text}"
            );
        }
        bench
            .assert_allowed(&ran, &format!("{what}: {outcome:?}"))
            .await;
        bench
            .settle(&ran, &format!("{what}, settled: {outcome:?}"))
            .await;
        bench.assert_kept(kind, &what).await;
    })
    .await;
}

/// The daemon dies at each call in turn, and completes or rolls back the switch after its restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_dies_at_each_call() {
    let mut cases = Vec::new();
    for kind in Work::ALL {
        let bench = kind.bench().await;
        work(&bench, kind).await.unwrap();
        let calls = bench.world.calls().len();
        for at in 0..calls {
            cases.push((kind, at, Fault::Hangs));
            cases.push((kind, at, Fault::DoneAndHangs));
        }
    }
    each(cases, |(kind, at, fault)| async move {
        let what = format!("{kind:?}, killed at call {at}, {fault:?}");
        let mut bench = kind.bench().await;
        let ran = bench.running();
        bench.world.fault(at, fault);
        let begun = async { tokio::time::timeout(TIMING.call / 2, work(&bench, kind)).await };
        let begun = begun.await;
        // The number of health checks differs, so the last calls are not always made.
        let is_reached = bench.world.calls().len() > at;
        assert!(begun.is_err() || !is_reached, "{what}: {begun:?}");
        bench.restart().await;
        bench.settle(&ran, &what).await;
        bench.assert_kept(kind, &what).await;
    })
    .await;
}
