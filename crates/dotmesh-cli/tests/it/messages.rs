//! The cleanup of texts before they are stored.

use dotmesh_cli::commands::mount;
use dotmesh_cli::git::{absolute, without_credentials};
use dotmesh_cli::message::{join, tidy};
use insta::assert_snapshot;

#[test]
fn a_message_may_be_typed_over_several_lines() {
    let typed =
        "\n    Log in as 'fred' to see  \n\n      that only the top half\n    will show up.\n";
    assert_eq!(
        tidy(typed),
        "Log in as 'fred' to see\n\n  that only the top half\nwill show up."
    );
    assert_eq!(tidy("First\n  second"), "First\n  second");
    assert_eq!(tidy("\tone\n\t\ttwo"), "one\n\ttwo");
    assert_eq!(tidy(" \n\t\n"), "");
    assert_eq!(tidy("\u{a0}wide\n\u{a0}blank"), "\u{a0}wide\n\u{a0}blank");
}

#[test]
fn several_messages_are_paragraphs() {
    let texts = [
        "One".to_owned(),
        " ".to_owned(),
        "  Two\n  lines".to_owned(),
    ];
    assert_eq!(join(&texts), "One\n\nTwo\nlines");
}

#[test]
fn no_credentials_are_kept_with_the_code_version() {
    let urls = [
        "https://github.com/dotmesh-io/moby-counter",
        "https://alice:s3cret@github.com/x/y.git",
        "https://ghp_token@github.com/x/y.git",
        "https://github.com/x/y.git?private_token=abc#z",
        "https://alice:p@ss@host:8443/x",
        "ssh://git@github.com:22/x/y",
        "ssh://git:s3cret@github.com/x/y",
        "git@github.com:x/y.git",
        "/srv/git/x.git",
        "https://alice:s3cret@host",
    ];
    let shown: Vec<_> = urls.iter().map(|url| without_credentials(url)).collect();
    assert_snapshot!(shown.join("\n"), @r"
    https://github.com/dotmesh-io/moby-counter
    https://github.com/x/y.git
    https://github.com/x/y.git
    https://github.com/x/y.git
    https://host:8443/x
    ssh://git@github.com:22/x/y
    ssh://git@github.com/x/y
    git@github.com:x/y.git
    /srv/git/x.git
    https://host
    ");
}

#[test]
fn a_mount_takes_a_folder_or_the_place_of_a_link_into_a_pool() {
    let place = tempfile::tempdir().unwrap();
    let old = place.path().join("old");
    std::os::unix::fs::symlink("/pool/dots/admin/app/branches/master/data/a", &old).unwrap();
    let (new, folder) = (place.path().join("new"), place.path().join("folder"));
    std::fs::create_dir(&folder).unwrap();
    for place in [&old, &new, &folder] {
        mount::prepare(place).unwrap();
        assert!(place.symlink_metadata().unwrap().is_dir());
    }

    let foreign = place.path().join("foreign");
    std::os::unix::fs::symlink("/etc", &foreign).unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for taken in [&foreign, &file] {
        mount::prepare(taken).unwrap_err();
    }
    assert_eq!(std::fs::read_link(&foreign).unwrap().to_str(), Some("/etc"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_remote_beside_the_work_tree_says_where_it_is() {
    let top = Some("/home/alice/shop");
    assert_eq!(absolute("../shop.git", top), "/home/alice/shop/../shop.git");
    for url in [
        "git@example.com:shop.git",
        "https://example.com/shop",
        "/srv/shop.git",
    ] {
        assert_eq!(absolute(url, top), url);
    }
}
