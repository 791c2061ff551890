//! Repacks of a store that has lost something: they leave it out, and repack the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use dotmesh_hub_service::operations::check::Defect;
use dotmesh_hub_service::operations::repack::Repacked;
use dotmesh_model::ObjectHash;
use dotmesh_store::PackId;

use crate::ambient;
use crate::backup::has;
use crate::place::Place;
use crate::repack::{Line, check, collect, repack, repacker};
use crate::support::{TestHub, dot};

async fn names(hub: &TestHub) -> BTreeSet<PackId> {
    let packs = hub.hub.packs.list().await.unwrap();
    packs.into_iter().map(|(pack, _)| pack).collect()
}

/// Pushes, and returns the new pack.
async fn pushed(hub: &TestHub, line: &mut Line) -> PackId {
    let before = names(hub).await;
    line.push().await;
    let after = names(hub).await;
    *after.difference(&before).next().unwrap()
}

async fn repack_the_rest(hub: &TestHub) -> Repacked {
    let (now, none) = (ambient::now(), Duration::ZERO);
    repacker(hub).repack(now, none).await.unwrap()
}

/// The objects of a commit that the one before has not.
fn new_objects(line: &Line, commit: usize) -> Vec<ObjectHash> {
    let old: BTreeSet<ObjectHash> = line.made[commit - 1].1.hashes().into_iter().collect();
    let new = line.made[commit].1.hashes();
    new.into_iter().filter(|hash| !old.contains(hash)).collect()
}

async fn a_cut_pack_is_left_out(place: fn() -> Place) {
    // How many bytes are left of how many.
    let cuts: [fn(usize) -> usize; 3] = [|_| 0, |length| length / 2, |length| length - 1];
    for left in cuts {
        let hub = TestHub::start_in(place()).await;
        let alice = hub.user("alice").await;
        let mut line = Line::new(&alice, "alice/app", 1);
        line.push().await;
        let cut = pushed(&hub, &mut line).await;
        line.push().await;
        let bytes = hub.hub.packs.get(cut).await.unwrap();
        let bytes = bytes.slice(..left(bytes.len()));
        hub.place().overwrite(cut, bytes).await;

        let done = repack_the_rest(&hub).await;
        assert_eq!((done.packs, &done.damaged), (2, &BTreeSet::from([cut])));
        collect(&hub).await;
        has(&alice, "alice/app", &line.made[0].1).await;
        let new = new_objects(&line, 2);
        alice.objects(&dot("alice/app"), &new).await.unwrap();
        let named = check(&hub, false).await.problems;
        let named = named.iter().any(|problem| {
            matches!(problem, Defect::PackDamaged { pack, .. } if *pack == cut.to_string())
        });
        assert!(named, "{cut}");
        // The next one leaves it out too, and repacks what is new.
        line.push().await;
        let done = repack_the_rest(&hub).await;
        assert!(done.packs > 0 && done.damaged == BTreeSet::from([cut]));
    }
}

#[tokio::test]
async fn a_cut_pack_on_a_disk_is_left_out() {
    a_cut_pack_is_left_out(Place::disk).await;
}

#[tokio::test]
async fn a_cut_pack_in_a_bucket_is_left_out() {
    a_cut_pack_is_left_out(Place::bucket).await;
}

/// What builds on a lost pack cannot be read either.
async fn a_lost_base_is_left_out(place: Place) {
    let hub = TestHub::start_in(place).await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..3 {
        line.push().await;
    }
    repack(&hub).await;
    collect(&hub).await;
    let base = *names(&hub).await.first().unwrap();
    line.push().await;
    repack(&hub).await;
    collect(&hub).await;
    assert!(names(&hub).await.len() > 1);
    hub.place().overwrite(base, bytes::Bytes::new()).await;

    let pack = pushed(&hub, &mut line).await;
    let done = repack_the_rest(&hub).await;
    assert_eq!((done.packs, &done.damaged), (1, &BTreeSet::from([base])));
    collect(&hub).await;
    assert!(!names(&hub).await.contains(&pack));
    let new = new_objects(&line, 4);
    alice.objects(&dot("alice/app"), &new).await.unwrap();
}

#[tokio::test]
async fn a_lost_base_on_a_disk_is_left_out() {
    a_lost_base_is_left_out(Place::disk()).await;
}

#[tokio::test]
async fn a_lost_base_in_a_bucket_is_left_out() {
    a_lost_base_is_left_out(Place::bucket()).await;
}

#[tokio::test]
async fn a_lost_pack_is_left_out() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    line.push().await;
    let lost: BTreeSet<_> = hub.hub.packs.list().await.unwrap().into_iter().collect();
    for _ in 0..2 {
        line.push().await;
    }
    for (pack, _) in &lost {
        hub.hub.packs.delete(*pack).await.unwrap();
    }
    let (now, none) = (ambient::now(), Duration::ZERO);
    let done = repacker(&hub).repack(now, none).await.unwrap();
    let lost: BTreeSet<_> = lost.into_iter().map(|(pack, _)| pack).collect();
    assert_eq!((done.packs, &done.damaged), (2, &lost));
    let old: BTreeSet<ObjectHash> = line.made[0].1.hashes().into_iter().collect();
    let new = line.made[2].1.hashes();
    let new: Vec<ObjectHash> = new.into_iter().filter(|hash| !old.contains(hash)).collect();
    alice.objects(&dot("alice/app"), &new).await.unwrap();
}
