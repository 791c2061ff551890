//! A materialised tree equals the original, as another program sees it.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use dotmesh_sync::MemoryObjects;

use crate::round_trip::{make, seal_into};

/// A tree with everything that is stored, except large files.
const TREE: &str = r#"
set -eu
mkdir -p empty a/b/c modes wide acl
printf content > file
: > nothing
head -c 5000000 /dev/urandom > random
chown 999:998 random
printf x > modes/setuid;  chown 7:8 modes/setuid; chmod 4755 modes/setuid
printf x > modes/setgid;  chmod 2711 modes/setgid
printf x > modes/none;    chmod 0000 modes/none
printf x > modes/group;   chown :1234 modes/group; chmod 0664 modes/group
mkdir modes/sticky modes/inherit
chmod 1777 modes/sticky
chown :77 modes/inherit; chmod 2775 modes/inherit; printf x > modes/inherit/below; mkdir modes/inherit/folder
touch -d '1969-12-31 23:00:00.123456789 UTC' a/old
touch -d '2031-01-02 03:04:05.000000001 UTC' a/new
setfattr -n user.note -v 'some text' file
setfattr -n user.binary -v 0x00ff0a a/b
setfattr -n trusted.note -v t a
setfattr -n trusted.more -v l file
setfacl -m u:1001:rw,g:1002:r file
setfacl -m u:1001:rwx acl
setfacl -d -m u:1003:rwx,g:1004:rx,o::- acl
printf x > acl/inherited; mkdir acl/folder; printf x > acl/folder/inherited; mkfifo acl/fifo
printf x > acl/plain; setfacl -b acl/plain; chmod 640 acl/plain
ln -s file symlink; ln -s /nowhere/at/all dangling; ln -s "$(printf '%3900s' '' | tr ' ' l)" long
chown -h 5:6 symlink; touch -h -d '2001-02-03 04:05:06.789 UTC' symlink
ln random a/b/random; ln random z; ln a/old a/b/c/old
mkfifo -m 620 fifo; chown 3:4 fifo
printf x > "$(printf '\377\376 \n')"; mkdir "$(printf 'd\200')"
printf x > "$(printf '%255s' '' | tr ' ' n)"
truncate -s 1M hole
printf begin > holes; truncate -s 3M holes; printf middle | dd of=holes bs=1M seek=1 conv=notrunc 2>/dev/null
touch -d '2020-01-01 00:00:00.5 UTC' a/b/c empty acl modes .
"#;

fn differences(live: &Path, copy: &Path) -> String {
    let output = Command::new("rsync")
        .args([
            "-aHAXS",
            "--checksum",
            "--dry-run",
            "--itemize-changes",
            "--delete",
        ])
        .args(["--exclude", "/huge", "--exclude", "/huger"])
        .arg(format!("{}/", live.display()))
        .arg(format!("{}/", copy.display()))
        .output()
        .expect("rsync: scripts/setup.sh test installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn rsync_finds_no_difference() {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can give files away: run this test as root"
    );
    let temp = tempfile::tempdir().expect("a folder");
    let (live, copy) = (temp.path().join("live"), temp.path().join("copy"));
    for folder in [&live, &copy] {
        fs::create_dir(folder).expect("create");
    }
    for number in 0..200_000 {
        fs::create_dir_all(live.join("wide")).expect("create");
        fs::File::create(live.join(format!("wide/{number}"))).expect("create");
    }
    let made = Command::new("sh")
        .args(["-c", TREE])
        .current_dir(&live)
        .output();
    let made = made.expect("sh");
    assert!(
        made.status.success(),
        "{} (scripts/setup.sh test installs setfacl and setfattr)",
        String::from_utf8_lossy(&made.stderr)
    );
    let islands = [0, 1 << 20, 5_000_000_123, 9_999_999_990];
    for (name, size) in [("huge", 10_000_000_000), ("huger", 100_000_000_000)] {
        let file = fs::File::create(live.join(name)).expect("create");
        file.set_len(size).expect("extend");
        for offset in islands {
            file.write_all_at(b"island", offset).expect("write");
        }
    }
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &live);
    make(&objects, root, None, &copy);
    assert_eq!(differences(&live, &copy), "");
    for name in ["huge", "huger"] {
        let (wanted, got) = (live.join(name), copy.join(name));
        let stat = |path| fs::metadata(path).expect("stat");
        assert_eq!(stat(&wanted).len(), stat(&got).len());
        assert_eq!(stat(&wanted).mtime_nsec(), stat(&got).mtime_nsec());
        assert!(stat(&got).blocks() < 2000, "it takes little room");
        let file = fs::File::open(got).expect("open");
        for offset in islands {
            let mut bytes = [0; 6];
            file.read_exact_at(&mut bytes, offset).expect("read");
            assert_eq!(&bytes, b"island");
        }
    }
    for name in ["hole", "holes"] {
        let blocks = |folder: &Path| fs::metadata(folder.join(name)).expect("stat").blocks();
        assert_eq!(
            blocks(&live),
            blocks(&copy),
            "{name} is as sparse as it was"
        );
    }
    // Check the test itself: it must see a difference.
    fs::write(copy.join("modes/none"), "y").expect("write");
    assert_ne!(differences(&live, &copy), "");
}
