//! What is packed comes back as it was, also through GNU tar in either direction.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use dotmesh_archive::{ArchiveError, Counters, copy, measure};

use crate::{packed, unpacked};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A folder with one of each.
fn sample(folder: &Path) {
    fs::create_dir_all(folder.join("pg/base/1")).expect("it works");
    fs::write(folder.join("pg/base/1/table"), "rows").expect("it works");
    fs::hard_link(folder.join("pg/base/1/table"), folder.join("pg/again")).expect("it works");
    symlink("../../etc/passwd", folder.join("pg/outside")).expect("it works");
    symlink("base", folder.join("pg/inside")).expect("it works");
    fs::hard_link(folder.join("pg/inside"), folder.join("pg/inside-too")).expect("it works");
    fs::write(folder.join("empty"), "").expect("it works");
    fs::write(folder.join("block"), [7; 512]).expect("it works");
    let long = "long/".repeat(40) + &"n".repeat(200);
    fs::create_dir_all(folder.join(&long).parent().expect("it works")).expect("it works");
    fs::write(folder.join(&long), "deep").expect("it works");
    fs::write(folder.join("ünïcode\n\\"), "named").expect("it works");
    let name = std::os::unix::ffi::OsStrExt::from_bytes(&b"not-\xff-text"[..]);
    fs::write(folder.join(<&std::ffi::OsStr>::clone(&name)), "bytes").expect("it works");
    run("mkfifo", &[text(&folder.join("pipe"))]);
    let sparse = File::create(folder.join("sparse")).expect("it works");
    sparse.write_all_at(b"begin", 0).expect("it works");
    sparse.write_all_at(b"middle", 40 << 20).expect("it works");
    sparse.set_len(48 << 20).expect("it works");
    let holes = File::create(folder.join("only-holes")).expect("it works");
    holes.set_len(5_000_000).expect("it works");
    let begins_late = File::create(folder.join("begins-late")).expect("it works");
    begins_late
        .write_all_at(&[1; 5000], 3 << 20)
        .expect("it works");
    fs::set_permissions(folder.join("empty"), fs::Permissions::from_mode(0o4751))
        .expect("it works");
    fs::set_permissions(folder.join("pg"), fs::Permissions::from_mode(0o2700)).expect("it works");
    fs::set_permissions(folder.join("pg/base"), fs::Permissions::from_mode(0o555))
        .expect("it works");
    if rustix::process::geteuid().is_root() {
        run(
            "chown",
            &["-h", "999:2000000", text(&folder.join("pg/base"))],
        );
        run(
            "chown",
            &["-h", "3000000:7", text(&folder.join("pg/outside"))],
        );
        run(
            "setfattr",
            &["-n", "user.note", "-v", "kept", text(&folder.join("block"))],
        );
        run(
            "setfattr",
            &["-n", "trusted.note", "-v", "=\n0", text(&folder.join("pg"))],
        );
        run("setfacl", &["-m", "u:42:r", text(&folder.join("block"))]);
        run(
            "setfacl",
            &["-d", "-m", "u:43:rwx", text(&folder.join("long"))],
        );
    }
    run(
        "touch",
        &[
            "-h",
            "-d",
            "1965-03-04 05:06:07.123456789",
            text(&folder.join("pg/outside")),
        ],
    );
    run(
        "touch",
        &["-d", "2001-02-03 04:05:06.7", text(&folder.join("pg"))],
    );
    run("touch", &["-d", "2600-01-01", text(&folder.join("empty"))]);
    run("touch", &["-d", "1999-01-01", text(folder)]);
}

/// Everything about a folder, in lines that can be compared.
fn described(folder: &Path) -> String {
    let line = "find . -printf '%P %y %m %U:%G %s %n %T@ %l\\n' | sort; \
         find . -type f -exec sha256sum {} + | sort; \
         getfattr -Rhd -m '^(user|trusted|security.capability|system)' -e hex . | sort; getfacl -nR . | sort; \
         find . -links +1 -type f -printf '%i %P\\n' | sort | awk '{ n[$1] = n[$1] \" \" $2 } END { for (i in n) print n[i] }' | sort";
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .output()
        .expect("it works");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    // The size of a folder is the filesystem's own.
    let lines = lines.lines().map(|line| match line.split(' ').nth(1) {
        Some("d") => {
            let words: Vec<_> = line.split(' ').collect();
            let [name, kind, mode, owner, _, _, time, ..] = words[..] else {
                return line.to_owned();
            };
            format!("{name} {kind} {mode} {owner} {time}")
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).expect("it works").blocks()
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let world = tempfile::tempdir().unwrap();
    let (from, to) = (world.path().join("from"), world.path().join("to"));
    for folder in [&from, &to] {
        fs::create_dir(folder).unwrap();
    }
    sample(&from);
    let counters = Counters::default();
    let (source, target) = (File::open(&from).unwrap(), File::open(&to).unwrap());
    let needed = measure(source.as_fd(), &counters).unwrap();
    let left_out = copy(source.as_fd(), target.as_fd(), &counters).unwrap();
    assert_eq!(left_out.count, 0, "{left_out:?}");
    assert_eq!(described(&from), described(&to));
    assert!(blocks(&to.join("sparse")) < 2000, "holes stay holes");
    assert_eq!(blocks(&to.join("only-holes")), 0);
    assert!((10_000..5_000_000).contains(&needed), "{needed}");
    assert!(counters.bytes() < 5_000_000 && counters.entries() > 40);
}

#[test]
fn gnu_tar_reads_what_is_packed() {
    let world = tempfile::tempdir().unwrap();
    let (from, to) = (world.path().join("from"), world.path().join("to"));
    for folder in [&from, &to] {
        fs::create_dir(folder).unwrap();
    }
    sample(&from);
    let archive = world.path().join("archive.tar");
    fs::write(&archive, packed(&from)).unwrap();
    let options = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-p"];
    let named = ["-xf", text(&archive), "-C", text(&to)];
    run("tar", &[&options[..], &named[..]].concat());
    assert_eq!(described(&from), described(&to));
    assert!(blocks(&to.join("sparse")) < 2000);
}

#[test]
fn what_gnu_tar_makes_is_read() {
    for format in [
        "pax",
        "gnu",
        "posix --sparse",
        "gnu --sparse",
        "posix --sparse --sparse-version=1.0",
    ] {
        let world = tempfile::tempdir().unwrap();
        let (from, to) = (world.path().join("from"), world.path().join("to"));
        for folder in [&from, &to] {
            fs::create_dir(folder).unwrap();
        }
        sample(&from);
        let archive = world.path().join("archive.tar");
        let with_xattrs = !format.starts_with("gnu");
        if !with_xattrs {
            for file in ["block", "pg", "long"] {
                run("setfacl", &["-bk", text(&from.join(file))]);
            }
            run("setfattr", &["-x", "user.note", text(&from.join("block"))]);
            run("setfattr", &["-x", "trusted.note", text(&from.join("pg"))]);
            run(
                "sh",
                &[
                    "-c",
                    &format!("find {} -exec touch -hd 2001-01-01 {{}} +", text(&from)),
                ],
            );
        }
        let line = format!(
            "tar --format={format} {} -cf {} -C {} .",
            if with_xattrs {
                "--xattrs --xattrs-include='*'"
            } else {
                ""
            },
            text(&archive),
            text(&from)
        );
        run("sh", &["-c", &line]);
        unpacked(&fs::read(&archive).unwrap(), &to)
            .unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(described(&from), described(&to), "{format}");
    }
}

#[test]
fn an_archive_without_folders_makes_them() {
    let world = tempfile::tempdir().unwrap();
    let archive = world.path().join("archive.tar");
    let to = world.path().join("to");
    fs::create_dir(&to).unwrap();
    fs::create_dir_all(world.path().join("a/b")).unwrap();
    fs::write(world.path().join("a/b/c"), "there").unwrap();
    run(
        "tar",
        &["-cf", text(&archive), "-C", text(world.path()), "a/b/c"],
    );
    unpacked(&fs::read(&archive).unwrap(), &to).unwrap();
    assert_eq!(fs::read_to_string(to.join("a/b/c")).unwrap(), "there");
}

#[test]
fn devices_and_sockets_are_left_out_and_named() {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root makes devices: run this test as root"
    );
    let world = tempfile::tempdir().unwrap();
    let (from, to) = (world.path().join("from"), world.path().join("to"));
    for folder in [&from, &to] {
        fs::create_dir(folder).unwrap();
    }
    run("mknod", &[text(&from.join("null")), "c", "1", "3"]);
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    fs::write(from.join("file"), "kept").unwrap();
    let (source, target) = (File::open(&from).unwrap(), File::open(&to).unwrap());
    let left_out = copy(source.as_fd(), target.as_fd(), &Counters::default()).unwrap();
    assert_eq!((left_out.count, left_out.first.len()), (2, 2));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    // In an archive, too.
    let archive = world.path().join("archive.tar");
    run(
        "tar",
        &["-cf", text(&archive), "-C", text(&from), "null", "file"],
    );
    let left_out = unpacked(&fs::read(&archive).unwrap(), &to).unwrap();
    assert_eq!(left_out.first, ["null"]);
    assert!(!to.join("null").exists());
}

#[test]
fn a_full_disk_and_a_cancelled_copy_are_told() {
    let world = tempfile::tempdir().unwrap();
    let (from, to) = (world.path().join("from"), world.path().join("to"));
    for folder in [&from, &to] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(from.join("large"), vec![9; 3 << 20]).unwrap();
    if rustix::process::geteuid().is_root() {
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=1M", "tmpfs", text(&to)],
        );
        let (source, target) = (File::open(&from).unwrap(), File::open(&to).unwrap());
        let failed = copy(source.as_fd(), target.as_fd(), &Counters::default());
        drop(target);
        run("umount", &[text(&to)]);
        match failed {
            Err(ArchiveError::Disk {
                doing: "write",
                source,
                ..
            }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
    }
    let counters = Counters::default();
    counters.cancel();
    let (source, target) = (File::open(&from).unwrap(), File::open(&to).unwrap());
    let failed = copy(source.as_fd(), target.as_fd(), &counters);
    assert!(matches!(failed, Err(ArchiveError::Cancelled)), "{failed:?}");
}
