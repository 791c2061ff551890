//! Texts that are tidied before they are kept.

use dotmesh_cli::commands::mount;
use dotmesh_cli::git::without_credentials;
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
fn a_mount_replaces_only_links_to_dots() {
    let place = tempfile::tempdir().unwrap();
    let dots = place.path().join("pool/dots/admin/app/branches");
    let (first, second) = (dots.join("master/data/a"), dots.join("other/data/a"));
    std::fs::create_dir_all(&first).unwrap();
    std::fs::create_dir_all(&second).unwrap();
    let link = place.path().join("link");
    mount::link(&first, &link).unwrap();
    mount::link(&second, &link).unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), second);

    let foreign = place.path().join("foreign");
    std::os::unix::fs::symlink("/etc", &foreign).unwrap();
    let folder = place.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for taken in [&foreign, &folder, &file] {
        mount::link(&first, taken).unwrap_err();
    }
    assert_eq!(std::fs::read_link(&foreign).unwrap().to_str(), Some("/etc"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let names = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(names, 5, "nothing is left behind");
}
