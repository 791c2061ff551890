//! Archives that want to get out of their folder, to use up memory, or to make the reader fail.

use std::fs;
use std::path::Path;

use dotmesh_archive::{ArchiveError, END, EntryKind, InodeAttributes, header, padding};
use proptest::prelude::*;

use crate::{packed, unpacked};

/// A world with a secret beside the folder to unpack in.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        fs::create_dir(world.to()).expect("a folder");
        fs::create_dir(world.folder.path().join("outside")).expect("a folder");
        fs::write(world.secret(), "secret").expect("a file");
        world
    }

    fn to(&self) -> std::path::PathBuf {
        self.folder.path().join("to")
    }

    fn secret(&self) -> std::path::PathBuf {
        self.folder.path().join("outside/secret")
    }

    /// Nothing outside has changed.
    fn is_safe(&self) {
        assert_eq!(
            fs::read_to_string(self.secret()).expect("it is there"),
            "secret"
        );
        let outside = fs::read_dir(self.folder.path().join("outside")).expect("it is there");
        assert_eq!(outside.count(), 1);
        assert_eq!(
            fs::read_dir(self.folder.path())
                .expect("it is there")
                .count(),
            2
        );
    }
}

fn attributes() -> InodeAttributes {
    InodeAttributes {
        mode: 0o644,
        ..InodeAttributes::default()
    }
}

#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, name: &str, kind: EntryKind<'_>) -> Self {
        self.0
            .extend(header(name.as_bytes().to_vec(), kind, &attributes()));
        self
    }

    fn file(mut self, name: &str, content: &str) -> Self {
        self = self.add(name, EntryKind::File(content.len() as u64));
        self.0.extend(content.as_bytes());
        self.0.extend(padding(content.len() as u64));
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.extend(END);
        self.0
    }

    fn into(self, world: &World) -> Result<(), ArchiveError> {
        let done = unpacked(&self.bytes(), &world.to()).map(drop);
        world.is_safe();
        done
    }
}

#[test]
fn no_name_leads_outside() {
    for name in [
        "../outside/secret",
        "a/../../outside/secret",
        "..",
        "a/..",
        "./../outside/new",
    ] {
        let world = World::new();
        let refused = Archive::default().file(name, "changed").into(&world);
        assert!(
            matches!(refused, Err(ArchiveError::Refused { .. })),
            "{name}: {refused:?}"
        );
    }
    // An absolute name is one in the folder, as for GNU tar.
    let world = World::new();
    Archive::default()
        .file("/etc/passwd", "inside")
        .into(&world)
        .expect("it is harmless");
    assert_eq!(
        fs::read_to_string(world.to().join("etc/passwd")).expect("it is inside"),
        "inside"
    );
}

#[test]
fn no_symbolic_link_is_followed() {
    for target in ["../outside", "/proc/self/cwd", "/"] {
        let world = World::new();
        let absolute = world.folder.path().join("outside");
        for target in [Path::new(target), &absolute] {
            let target = target.to_str().expect("text").as_bytes();
            let refused = Archive::default()
                .add("link", EntryKind::Symlink(target))
                .file("link/secret", "changed")
                .into(&world);
            assert!(
                matches!(refused, Err(ArchiveError::Refused { .. })),
                "{refused:?}"
            );
            let refused = Archive::default()
                .add("link", EntryKind::Symlink(target))
                .add("link/deeper/folder", EntryKind::Folder)
                .into(&world);
            assert!(refused.is_err(), "{refused:?}");
        }
    }
    // A file that has the name of a link replaces the link.
    let world = World::new();
    Archive::default()
        .add("link", EntryKind::Symlink(b"../outside/secret"))
        .file("link", "changed")
        .into(&world)
        .expect("the link is gone");
    assert_eq!(
        fs::read_to_string(world.to().join("link")).expect("a file"),
        "changed"
    );
    // So does a folder, whose attributes do not reach what the link showed.
    let world = World::new();
    Archive::default()
        .add("link", EntryKind::Folder)
        .add("link", EntryKind::Symlink(b"../outside"))
        .into(&world)
        .expect_err("a folder is not replaced by a link");
}

#[test]
fn no_hard_link_leads_outside() {
    let world = World::new();
    let secret = world.secret();
    let absolute = secret.to_str().expect("text");
    for target in [
        "../outside/secret",
        absolute,
        "link",
        "link/secret",
        "absent",
        "",
        "folder",
    ] {
        let world = World::new();
        let refused = Archive::default()
            .add("folder", EntryKind::Folder)
            .add("link", EntryKind::Symlink(b"../outside"))
            .add("hard", EntryKind::HardLink(target.as_bytes()))
            .file("hard", "changed")
            .into(&world);
        // A second name of a link is a link, and then the file replaces it.
        assert_eq!(refused.is_ok(), target == "link", "{target}: {refused:?}");
    }
}

#[test]
fn claims_are_not_believed() {
    let world = World::new();
    // A file that says that it is huge, and a record that does.
    let mut bytes = header(
        b"huge".to_vec(),
        EntryKind::File(u64::MAX >> 2),
        &attributes(),
    );
    bytes.extend([0; 2048]);
    let refused = unpacked(&bytes, &world.to());
    assert!(
        matches!(refused, Err(ArchiveError::EndsEarly)),
        "{refused:?}"
    );

    let mut records = header(b"file".to_vec(), EntryKind::File(1 << 30), &attributes());
    records[156] = b'x';
    let sum: u32 = (0..512)
        .map(|at| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(records[at])
            }
        })
        .sum();
    records[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let refused = unpacked(&records, &world.to());
    assert!(
        matches!(refused, Err(ArchiveError::Malformed(_))),
        "{refused:?}"
    );

    // A list of holes that goes backwards, or past the end.
    for list in [
        "2\n512\n512\n0\n512\n",
        "1\n4096\n1024\n",
        "1\n0\n18446744073709551615\n",
        "99999999999\n",
        "x\n",
    ] {
        let stored = 512 + 1024;
        let mut bytes = header(
            b"holes".to_vec(),
            EntryKind::Sparse { size: 2048, stored },
            &attributes(),
        );
        let mut block = list.as_bytes().to_vec();
        block.resize(512, 0);
        bytes.extend(block);
        bytes.extend([1; 1024]);
        bytes.extend(END);
        let refused = unpacked(&bytes, &world.to());
        assert!(
            matches!(refused, Err(ArchiveError::Malformed(_))),
            "{list:?}: {refused:?}"
        );
    }
}

#[test]
fn an_archive_that_is_cut_off_is_refused() {
    let world = World::new();
    let whole = Archive::default()
        .file("one", "first")
        .file("two", &"x".repeat(3000))
        .bytes();
    for length in 0..whole.len() - END.len() + 511 {
        let refused = unpacked(&whole[..length], &world.to());
        assert!(
            matches!(refused, Err(ArchiveError::EndsEarly)),
            "{length}: {refused:?}"
        );
    }
    for (begin, name) in [
        (&[0x1f, 0x8b][..], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    ] {
        let mut bytes = begin.to_vec();
        bytes.resize(if name == "gzip" { 100 } else { 2048 }, 5);
        match unpacked(&bytes, &world.to()) {
            Err(ArchiveError::Compressed(found)) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bytes_that_were_changed_do_no_harm(
        changes in prop::collection::vec((0usize..6000, any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let world = World::new();
        let mut bytes = Archive::default()
            .add("folder", EntryKind::Folder)
            .file("folder/file", "content")
            .add("folder/link", EntryKind::Symlink(b"../../outside/secret"))
            .add("hard", EntryKind::HardLink(b"folder/file"))
            .file(&"long/".repeat(30), "x")
            .bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if fix {
            for block in bytes.chunks_exact_mut(512) {
                let is_header = block[257..262] == *b"ustar";
                let sum: u32 = (0..512).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(block[at]) }).sum();
                if is_header {
                    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                }
            }
        }
        let _ = unpacked(&bytes, &world.to());
        world.is_safe();
    }

    #[test]
    fn any_bytes_are_an_archive_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let world = World::new();
        let _ = unpacked(&bytes, &world.to());
        world.is_safe();
    }
}

#[test]
fn the_same_folder_gives_the_same_archive() {
    let world = World::new();
    for name in ["b", "a", "c"] {
        fs::write(world.to().join(name), name).expect("a file");
    }
    assert_eq!(packed(&world.to()), packed(&world.to()));
}
