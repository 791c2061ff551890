//! Names: the grammar accepts exactly the valid names, and printing is the inverse of parsing.

use dotmesh_model::volume::Folder;
use dotmesh_model::{DotName, Namespace, SubdotName, VolumeName};
use proptest::prelude::*;

use crate::branch_names::branch_name;

const NAME: &str = "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}";

proptest! {
    #[test]
    fn what_matches_is_a_name(text in NAME) {
        let name: SubdotName = text.parse().unwrap();
        prop_assert_eq!(name.as_str(), text);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        let valid = !text.is_empty()
            && text.len() <= 64
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        prop_assert_eq!(text.parse::<SubdotName>().is_ok(), valid);
        // The other parsers must not panic, whatever they return.
        let _ = text.parse::<VolumeName>();
        let _ = text.parse::<DotName>();
    }

    #[test]
    fn volumes_survive_a_round_trip(
        namespace in proptest::option::of(NAME),
        dot in NAME,
        branch in proptest::option::of(branch_name()),
        subdot in proptest::option::of(NAME),
    ) {
        let mut text = String::new();
        if let Some(namespace) = &namespace {
            text += &format!("{namespace}/");
        }
        text += &dot;
        if let Some(branch) = &branch {
            text += &format!("@{}", branch.spelling());
        }
        if let Some(subdot) = &subdot {
            text += &format!(".{subdot}");
        }
        let volume: VolumeName = text.parse().unwrap();
        prop_assert_eq!(volume.dot.name(), dot);
        prop_assert_eq!(
            volume.dot.namespace.as_str(),
            namespace.as_deref().unwrap_or(Namespace::DEFAULT)
        );
        prop_assert_eq!(&volume.pinned, &branch);
        prop_assert_eq!(volume.to_string().parse::<VolumeName>().unwrap(), volume);
    }
}

#[test]
fn the_parts_of_a_volume_name() {
    let volume: VolumeName = "alice/app@b1.sub".parse().unwrap();
    assert_eq!(volume.dot.full(), "alice/app");
    assert_eq!(volume.pinned.unwrap().as_str(), "b1");
    assert_eq!(volume.folder, Folder::Subdot("sub".parse().unwrap()));
    for text in ["app@feature~2flogin.db", "app@feature/login.db"] {
        let volume: VolumeName = text.parse().unwrap();
        assert_eq!(volume.dot.full(), "admin/app");
        assert_eq!(volume.pinned.as_ref().unwrap().as_str(), "feature/login");
        assert_eq!(volume.folder, Folder::Subdot("db".parse().unwrap()));
        assert_eq!(volume.to_string(), "app@feature~2flogin.db");
    }
    let volume: VolumeName = "alice/app@v1~2e2".parse().unwrap();
    assert_eq!(volume.pinned.unwrap().as_str(), "v1.2");
    let plain: VolumeName = "mobycounter_app".parse().unwrap();
    assert_eq!(plain.folder, Folder::Subdot(SubdotName::default_subdot()));
    assert_eq!(
        "app.__root__".parse::<VolumeName>().unwrap().folder,
        Folder::Root
    );
    assert_eq!(
        "app.__default__".parse::<VolumeName>().unwrap().to_string(),
        "app"
    );
}

#[test]
fn refusals_say_why() {
    let refusals: Vec<String> = [
        "",
        "a.b.c",
        "a@b@c",
        "a/b/c",
        "a@",
        "a.",
        "/a",
        ".a",
        "@",
        "a b",
        "ü",
        "-a",
        "a.b/c",
        "a.b@c",
        "a@v1.2.db",
        "a@v1..db",
        "a@~61",
        "a@feature~2Flogin",
        "a@feature~2",
        "a@b/.c",
        "a@b//c",
        "a@/b",
        "a@b~2f",
    ]
    .iter()
    .map(|text| format!("{text:?}: {}", text.parse::<VolumeName>().unwrap_err()))
    .collect();
    insta::assert_snapshot!(refusals.join("\n"));
}
