//! Random directories equal the original after a round trip, as a whole and step by step.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_sync::{
    Base, MemoryObjects, NullSink, Progress, Target, find_left_out, materialise, measure,
    seal_directory,
};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::trees::{actions, describe, run};

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

pub(crate) fn seal_into(objects: &mut MemoryObjects, directory: &Path) -> ObjectHash {
    runtime()
        .block_on(seal_directory(
            directory,
            None,
            None,
            objects,
            &Arc::default(),
        ))
        .expect("seal")
        .root
}

pub(crate) fn seal_only(directory: &Path) -> ObjectHash {
    runtime()
        .block_on(seal_directory(
            directory,
            None,
            None,
            &mut NullSink,
            &Arc::default(),
        ))
        .expect("seal")
        .root
}

/// Materialises a folder, on a base if there is one.
pub(crate) fn make(objects: &MemoryObjects, target: ObjectHash, base: Option<Base>, into: &Path) {
    let target = Target {
        root: target,
        base,
        into: into.to_owned(),
        resumed: false,
    };
    let source = Arc::new(objects.clone());
    let progress = Arc::new(Progress::default());
    runtime()
        .block_on(materialise(&source, &target, &progress))
        .expect("materialise");
    let (done, total) = progress.counted();
    assert_eq!(done, total, "progress ends at its total");
}

/// Makes an equal copy of a folder, to be a base.
pub(crate) fn frozen(folder: &Path, root: ObjectHash, at: &Path) -> Base {
    let _ = std::fs::remove_dir_all(at);
    let copied = Command::new("cp").arg("-a").args([folder, at]).status();
    assert!(copied.expect("cp").success());
    // `cp` finds no holes in a file shorter than a sector.
    for path in describe(folder).into_keys() {
        let of = |folder: &Path| {
            folder.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path))
        };
        let from = std::fs::symlink_metadata(of(folder)).expect("stat");
        let data = |file: &std::fs::File| rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0));
        let is_short = from.is_file() && (1..512).contains(&from.len());
        if is_short && data(&std::fs::File::open(of(folder)).expect("open")).is_err() {
            let copy = std::fs::OpenOptions::new()
                .write(true)
                .open(of(at))
                .expect("open");
            copy.set_len(0).expect("truncate");
            copy.set_len(from.len()).expect("extend");
            copy.set_modified(from.modified().expect("time"))
                .expect("set the time");
        }
    }
    Base {
        root,
        data: at.to_owned(),
    }
}

pub(crate) fn assert_same(wanted: &Path, got: &Path) {
    let (wanted_lines, got_lines) = (describe(wanted), describe(got));
    for (path, line) in &wanted_lines {
        assert_eq!(
            Some(line),
            got_lines.get(path),
            "at {}",
            String::from_utf8_lossy(path)
        );
    }
    assert_eq!(wanted_lines.len(), got_lines.len(), "nothing else is there");
    let slash = |path: &Path| format!("{}/", path.display());
    let rsync = Command::new("rsync")
        .args([
            "-aHAX",
            "--delete",
            "--checksum",
            "--dry-run",
            "--itemize-changes",
        ])
        .args([slash(wanted), slash(got)])
        .output();
    // The comparison above is complete. If rsync is installed, it is a second check.
    if let Ok(output) = rsync {
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "",
            "rsync finds no difference"
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

proptest! {
    #![proptest_config(Config { cases: 40, ..Config::default() })]

    #[test]
    fn a_directory_comes_back_as_it_was_and_changes_as_it_changed(
        first in actions(60), then in prop::collection::vec(actions(25), 1..4),
    ) {
        let temp = tempfile::tempdir().expect("a folder");
        let (live, copy) = (temp.path().join("live"), temp.path().join("copy"));
        for folder in [&live, &copy] {
            std::fs::create_dir(folder).expect("create");
        }
        run(&live, &first);
        let mut objects = MemoryObjects::default();
        let mut base = seal_into(&mut objects, &live);
        make(&objects, base, None, &copy);
        assert_same(&live, &copy);
        assert_eq!(seal_only(&copy), base, "the same tree has the same hash");
        for change in then {
            run(&live, &change);
            let target = seal_into(&mut objects, &live);
            let base_copy = frozen(&copy, base, &temp.path().join("base"));
            make(&objects, target, Some(base_copy), &copy);
            assert_same(&live, &copy);
            assert_eq!(seal_only(&copy), target, "the same tree has the same hash");
            base = target;
        }
    }
}

#[test]
fn a_wide_directory_and_a_long_file_change_in_place() {
    let temp = tempfile::tempdir().expect("a folder");
    let (live, copy) = (temp.path().join("live"), temp.path().join("copy"));
    for folder in [&live, &copy] {
        std::fs::create_dir(folder).expect("create");
    }
    let mut bytes: Vec<u8> = (0..40_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(live.join("long"), &bytes).expect("write");
    for i in 0..3000 {
        std::fs::write(live.join(format!("file{i}")), format!("{i}")).expect("write");
    }
    let mut objects = MemoryObjects::default();
    let base = seal_into(&mut objects, &live);
    make(&objects, base, None, &copy);
    assert_same(&live, &copy);

    bytes[20_000_000..20_000_100].fill(7);
    bytes.splice(30_000_000..30_000_000, [1, 2, 3]);
    bytes.truncate(39_000_000);
    std::fs::write(live.join("long"), &bytes).expect("write");
    std::fs::write(live.join("file1234"), "changed").expect("write");
    std::fs::remove_file(live.join("file77")).expect("remove");
    let mut new = MemoryObjects::default();
    let target = seal_into(&mut new, &live);
    let added = new
        .iter()
        .filter(|object| objects.get(object.hash()).is_none())
        .count();
    assert!(added < 40, "a small change makes few objects, not {added}");
    for object in new.iter() {
        objects.insert(object.clone());
    }
    let base = frozen(&copy, base, &temp.path().join("base"));
    make(&objects, target, Some(base), &copy);
    assert_same(&live, &copy);
}

#[test]
fn the_measure_counts_each_file_once() {
    let temp = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(temp.path().join("below")).expect("create");
    std::fs::write(temp.path().join("below/file"), [0; 1000]).expect("write");
    std::fs::hard_link(temp.path().join("below/file"), temp.path().join("link")).expect("link");
    let measured = runtime().block_on(measure(temp.path())).expect("measure");
    assert_eq!(measured, 1000);
}

#[test]
fn sockets_and_devices_are_left_out() {
    let temp = tempfile::tempdir().expect("a folder");
    let empty = seal_only(temp.path());
    let mtime = std::fs::metadata(temp.path())
        .expect("stat")
        .modified()
        .expect("a time");
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("s")).expect("bind");
    std::fs::File::open(temp.path())
        .expect("open")
        .set_modified(mtime)
        .expect("set the time");
    let sink = &mut NullSink;
    let sealed = runtime()
        .block_on(seal_directory(
            temp.path(),
            None,
            None,
            sink,
            &Arc::default(),
        ))
        .expect("seal");
    assert_eq!(sealed.root, empty);
    assert_eq!(
        (sealed.sockets.count, sealed.sockets.first),
        (1, vec!["s".to_owned()])
    );
    // Skip this if the test may not make device nodes.
    if crate::trees::make_device(&temp.path().join("null")).is_ok() {
        std::fs::File::open(temp.path())
            .expect("open")
            .set_modified(mtime)
            .expect("set the time");
        assert_eq!(seal_only(temp.path()), empty);
    }
}

#[test]
fn what_flags_protect_in_the_base_is_changed_all_the_same() {
    use rustix::fs::IFlags;
    let temp = tempfile::tempdir().expect("a folder");
    let [base, wanted, into] = ["base", "wanted", "into"].map(|name| temp.path().join(name));
    for folder in [&base, &wanted] {
        for name in ["still", "frozen", "log", "gone/deep", "becomes-a-file"] {
            std::fs::create_dir_all(folder.join(name)).expect("create");
        }
        for name in [
            "still/file",
            "frozen/file",
            "log/log",
            "gone/deep/file",
            "file",
        ] {
            std::fs::write(folder.join(name), "one").expect("write");
        }
    }
    std::fs::remove_dir_all(wanted.join("gone")).expect("remove");
    std::fs::remove_dir(wanted.join("becomes-a-file")).expect("remove");
    std::fs::write(wanted.join("becomes-a-file"), "two").expect("write");
    for name in ["frozen/file", "log/log", "file", "frozen/new"] {
        std::fs::write(wanted.join(name), "two").expect("write");
    }
    std::fs::hard_link(wanted.join("still/file"), wanted.join("frozen/link")).expect("link");
    std::os::unix::fs::symlink("file", wanted.join("frozen/symlink")).expect("symlink");
    std::fs::create_dir(wanted.join("log/folder")).expect("create");
    let copied = Command::new("cp").arg("-a").args([&base, &into]).status();
    assert!(copied.expect("cp").success());
    let flag = |name: &str, flags| {
        let file = std::fs::File::open(into.join(name)).expect("open");
        let others = rustix::fs::ioctl_getflags(&file)?;
        rustix::fs::ioctl_setflags(&file, others | flags)
    };
    // Skip the test if the file system has no such flags.
    if flag("file", IFlags::IMMUTABLE).is_err() {
        return;
    }
    for name in [
        "frozen/file",
        "gone/deep/file",
        "gone/deep",
        "gone",
        "frozen",
        "still/file",
    ] {
        flag(name, IFlags::IMMUTABLE).expect("flag");
    }
    for name in ["log/log", "log", "becomes-a-file"] {
        flag(name, IFlags::APPEND).expect("flag");
    }
    flag("", IFlags::IMMUTABLE).expect("flag");

    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &base);
    let target = seal_into(&mut objects, &wanted);
    let base = Some(Base { root, data: base });
    make(&objects, target, base, &into);
    assert_eq!(describe(&into), describe(&wanted));
    assert_eq!(seal_only(&into), target);
}

/// Makes nested folders, however long their path becomes. Returns the innermost one.
fn deep(folder: &Path, levels: usize) -> std::os::fd::OwnedFd {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, flags, Mode::empty()).expect("open");
    let name = "a-folder-with-a-name-of-thirty-bytes";
    for _ in 0..levels {
        mkdirat(&at, name, Mode::RWXU).expect("create");
        at = openat(&at, name, flags, Mode::empty()).expect("open");
    }
    at
}

#[test]
fn a_folder_that_is_too_deep_is_left_out() {
    let temp = tempfile::tempdir().expect("a folder");
    let edge = deep(temp.path(), 255);
    let before = rustix::fs::fstat(&edge).expect("stat");
    let time = |seconds, nanoseconds| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let modified = time(before.st_mtime, before.st_mtime_nsec as _);
    let times = rustix::fs::Timestamps {
        last_access: modified,
        last_modification: modified,
    };
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, temp.path());
    let copy = tempfile::tempdir().expect("a folder");
    make(&objects, root, None, copy.path());
    assert_eq!(seal_only(copy.path()), root);

    let inside = std::path::PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&edge)
    ));
    let left_out = || {
        let finding = find_left_out(temp.path(), None);
        let found = runtime().block_on(finding).expect("look through");
        found.left_out()
    };
    assert!(left_out().is_empty());
    for levels in [1, 3000] {
        drop(deep(&inside.join("."), levels));
        // The folder's attributes must be the same as before, too.
        rustix::fs::futimens(&edge, &times).expect("set the time");
        assert_eq!(seal_only(temp.path()), root, "all of it stays");
        let list = left_out();
        assert_eq!((list.count, list.items.len()), (1, 1));
        let start = "a-folder-with-a-name-of-thirty-bytes/a-folder";
        assert!(list.items[0].path.starts_with(start), "{list:?}");
        assert!(list.items[0].path.len() < 500, "{list:?}");
        assert_eq!(list.items[0].reason, "more than 256 folders deep");
        runtime().block_on(measure(temp.path())).expect("measure");
        std::fs::remove_dir_all(inside.join("a-folder-with-a-name-of-thirty-bytes"))
            .expect("remove");
    }
}
