//! Items that one pool can store and another cannot. A push leaves them out and lists them. If one arrives anyway,
//! the error names it.

use std::path::Path;

use dotmesh_model::ObjectHash;
use dotmesh_sync::limits::{MAX_TARGET_LENGTH, MAX_XATTR_LENGTH};
use dotmesh_sync::{
    Limits, MaterialiseError, MemoryObjects, SealError, Target, find_left_out, materialise,
    seal_within,
};

use crate::incremental::World;
use crate::round_trip::{make, runtime, seal_into};
use crate::trees::{colliding_names, describe, make_device};

fn set(path: &Path, name: &str, length: usize) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name, &vec![1; length], flags).expect("set an attribute");
}

fn write(path: &Path) {
    std::fs::write(path, "content").expect("write");
}

fn link(path: &Path, length: usize) {
    std::os::unix::fs::symlink("t".repeat(length), path).expect("link");
}

fn seal_by(
    limits: Limits,
    data: &Path,
    objects: &mut MemoryObjects,
) -> Result<ObjectHash, SealError> {
    let progress = std::sync::Arc::default();
    let sealing = seal_within(limits, data, None, None, objects, &progress);
    runtime().block_on(sealing).map(|sealed| sealed.root)
}

fn receive(objects: &MemoryObjects, root: ObjectHash, into: &Path) -> Result<(), MaterialiseError> {
    let target = Target {
        root,
        base: None,
        into: into.to_owned(),
        resumed: false,
    };
    let source = std::sync::Arc::new(objects.clone());
    runtime().block_on(materialise(&source, &target, &std::sync::Arc::default()))
}

/// The path of each item, with the reason.
fn listed(data: &Path) -> Vec<(String, String)> {
    let found = runtime()
        .block_on(find_left_out(data, None))
        .expect("look through");
    assert!(found.is_whole());
    let items = found.left_out().items.into_iter();
    items.map(|item| (item.path, item.reason)).collect()
}

#[test]
fn what_not_every_pool_can_hold_is_left_out_and_listed() {
    let (large, small) = (World::with_nodesize(16384), World::new());
    let (from, to) = (large.line(), small.line());
    let (live, copy) = (from.live(), to.live());

    make_device(&live.join("device")).expect("make a device node");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        live.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("make a fifo");
    let deep = |levels: usize| live.join("deep").join(["d"; 400][..levels].join("/"));
    std::fs::create_dir_all(deep(300)).expect("create");
    write(&deep(300).join("file"));
    // The file's first name is left out, so the second name stands for the file.
    std::fs::hard_link(deep(300).join("file"), live.join("link")).expect("link");
    for (file, value) in [
        ("attribute", MAX_XATTR_LENGTH + 1),
        ("fits", MAX_XATTR_LENGTH),
    ] {
        write(&live.join(file));
        set(&live.join(file), "user.large", value - "user.large".len());
        set(&live.join(file), "user.small", 3);
    }
    write(&live.join("many"));
    for n in 0..300 {
        set(&live.join("many"), &format!("trusted.{n:0>240}"), 0);
    }
    link(&live.join("symlink"), MAX_TARGET_LENGTH + 1);
    link(&live.join("symlink-fits"), MAX_TARGET_LENGTH);
    std::fs::create_dir(live.join("names")).expect("create");
    for name in colliding_names() {
        write(&live.join("names").join(name));
    }

    let beyond = colliding_names()[13..]
        .iter()
        .map(|name| format!("names/{name}"));
    let mut wanted: Vec<String> = ["attribute", "device", "many", "symlink"]
        .map(str::to_owned)
        .into();
    wanted.push(
        deep(255)
            .strip_prefix(&live)
            .expect("below")
            .display()
            .to_string(),
    );
    wanted.extend(beyond);
    wanted.sort();
    let list = listed(&live);
    let paths: Vec<_> = list.iter().map(|(path, _)| path.clone()).collect();
    let shown = |path: &String| match path.len() {
        0..=400 => path.clone(),
        length => format!("{}…{}", &path[..200], &path[length - 200..]),
    };
    assert_eq!(paths, wanted.iter().map(shown).collect::<Vec<_>>());
    assert!(
        list[0].1.starts_with("its extended attribute user.large"),
        "{list:?}"
    );

    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &live);
    receive(&objects, root, &copy).expect("every pool can hold it");
    // The copy equals the original without the listed items.
    let (mut before, after) = (describe(&live), describe(&copy));
    let attributes = |path: &str| after[path.as_bytes()].clone();
    assert!(!attributes("attribute").contains(&"1, ".repeat(100)));
    assert!(
        attributes("attribute").contains("[1, 1, 1]"),
        "the other is kept"
    );
    before.insert(b"attribute".to_vec(), attributes("attribute"));
    before.insert(b"many".to_vec(), attributes("many"));
    before.insert(b"link".to_vec(), attributes("link"));
    before.retain(|path, _| {
        !wanted.iter().any(|left| {
            let is_file = ["attribute", "many"].contains(&left.as_str());
            let below = path.strip_prefix(left.as_bytes());
            !is_file && below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    });
    assert_eq!(before, after);
    assert_eq!(listed(&copy), []);
    assert_eq!(seal_into(&mut objects, &copy), root);
}

#[test]
fn what_was_sealed_before_there_were_limits_is_sealed_the_same_again() {
    let (large, small) = (World::with_nodesize(16384), World::new());
    let (mut line, to) = (large.line(), small.line());
    let live = line.live();
    write(&live.join("file"));
    set(&live.join("file"), "user.large", 5000);
    let mut objects = MemoryObjects::default();
    let before = seal_by(Limits::Format, &live, &mut objects).expect("seal");
    let now = seal_by(Limits::EveryPool, &live, &mut objects).expect("seal");
    assert_ne!(before, now);
    // A larger pool still stores it. A smaller one says why it cannot.
    let other = large.line();
    make(&objects, before, None, &other.live());
    let error = receive(&objects, before, &to.live()).expect_err("too large for this pool");
    let MaterialiseError::Disk(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.to_string(), "cannot write file");
    assert_eq!(
        error.source.to_string(),
        "the extended attribute user.large has 5010 bytes with its name, and every pool can hold at most 3940"
    );
    link(&live.join("link"), 4000);
    let root = seal_by(Limits::Format, &live, &mut objects).expect("seal");
    std::fs::remove_file(live.join("file")).expect("remove");
    let link_alone = seal_by(Limits::Format, &live, &mut objects).expect("seal");
    assert_ne!(root, link_alone);
    let error = receive(&objects, link_alone, &small.line().live()).expect_err("too long");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let Some(source) = source else {
        panic!("{error:?}");
    };
    assert!(
        source.contains("the link's target has 4000 bytes"),
        "{source}"
    );

    // Such a base is recognised, and the next commit is sealed as a whole.
    line.commit();
    let error = line.seal_on(before, &objects).expect_err("other limits");
    assert!(matches!(error, SealError::BaseOtherwise), "{error:?}");
    assert!(error.is_about_base());
}
