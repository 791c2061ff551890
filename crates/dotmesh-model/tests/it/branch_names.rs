//! Names of branches: git's grammar, and a spelling that is safe in every place.

use std::process::Command;

use dotmesh_model::branch_name::is_deceptive;
use dotmesh_model::branches::diverged_name;
use dotmesh_model::names::{MAX_BRANCH_LENGTH, MAX_SPELLING_LENGTH};
use dotmesh_model::{BranchName, VolumeName};
use proptest::prelude::*;

/// All names that earlier versions took.
const OLD: &str = "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}";

/// Texts that are often valid names, and often almost valid.
const NEARLY: &str =
    "[a-z0-9._/@{~^:?*\\[\\\\ HEAD-]{0,4}(lock|[a-zäß/.@{-]|\\.lock|feature/){0,4}\\PC{0,2}";

/// Valid names of all kinds.
pub(crate) fn branch_name() -> impl Strategy<Value = BranchName> {
    let part = "[a-zA-Z0-9_@{}$'\"#%&()+,;<=>|!äß漢-]{1,12}(\\.[a-z0-9-]{1,4}){0,2}";
    let long = "[a-z]{1,90}(/[a-zà-ö.]{1,60}){0,2}";
    let names = prop_oneof![
        OLD.prop_map(String::from),
        proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/")),
        long.prop_map(String::from),
    ];
    names.prop_filter_map("no name", |text| text.parse().ok())
}

/// Whether git takes a name. It accepts any length and any visible character.
fn git_takes(name: &str) -> bool {
    // `--branch` would expand `@{-1}`. It also refuses a leading '-', and takes '@' for HEAD.
    let output = Command::new("git")
        .args(["check-ref-format", &format!("refs/heads/{name}")])
        .output()
        .expect("git can be run");
    output.status.success() && !name.starts_with('-') && name != "@"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn what_git_takes_is_a_name(text in prop_oneof![NEARLY, "\\PC{0,12}"]) {
        let is_short = text.len() <= 60;
        // Git takes some non-ASCII characters that Dotmesh refuses.
        let is_deceptive = text.chars().any(|c| !c.is_ascii() && is_deceptive(c));
        prop_assume!(is_short && !is_deceptive);
        prop_assert_eq!(text.parse::<BranchName>().is_ok(), git_takes(&text), "{:?}", text);
    }
}

proptest! {
    #[test]
    fn every_old_name_is_its_own_spelling(text in OLD) {
        let name: BranchName = text.parse().unwrap();
        prop_assert_eq!(name.as_str(), &text);
        prop_assert_eq!(name.spelling(), text.as_str());
        prop_assert_eq!(BranchName::from_spelling(&text).unwrap(), name);
    }

    #[test]
    fn a_spelling_is_safe_and_comes_back(name in branch_name()) {
        let spelling = name.spelling();
        prop_assert!(name.as_str().len() <= MAX_BRANCH_LENGTH);
        prop_assert!((1..=MAX_SPELLING_LENGTH).contains(&spelling.len()));
        prop_assert!(!spelling.starts_with('-'));
        prop_assert!(spelling.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-~".contains(&b)));
        prop_assert_eq!(&BranchName::from_spelling(&spelling).unwrap(), &name);
        prop_assert_eq!(&BranchName::from_address(&spelling).unwrap(), &name);
        prop_assert_eq!(&BranchName::from_address(name.as_str()).unwrap(), &name);
        let volume: VolumeName = format!("app@{spelling}.db").parse().unwrap();
        prop_assert_eq!(volume.pinned.as_ref(), Some(&name));
        prop_assert_eq!(volume.to_string(), format!("app@{spelling}.db"));
    }

    /// Two spellings never mean the same name.
    #[test]
    fn what_is_read_is_spelled_so(text in "([a-z0-9A-F-]|~[0-9a-f]{2}|~2[ef]|[~./]|\\PC){0,12}") {
        if let Ok(name) = BranchName::from_spelling(&text) {
            prop_assert_eq!(name.spelling(), text);
        }
    }

    #[test]
    fn a_diverged_branch_has_a_name(branch in branch_name(), second in 0_i64..4_000_000_000) {
        let name = diverged_name(&branch, jiff::Timestamp::from_second(second).unwrap());
        let (beginning, _) = name.as_str().split_once("-DIVERGED-").unwrap();
        prop_assert!(branch.as_str().starts_with(beginning) && !beginning.is_empty());
        prop_assert!(!beginning.ends_with(['/', '.']));
    }
}

#[test]
fn names_and_their_spellings() {
    let table = [
        ("master", "master"),
        ("HEAD", "HEAD"),
        ("feature/login", "feature~2flogin"),
        ("v1.2", "v1~2e2"),
        ("a@b", "a~40b"),
        ("ü", "~c3~bc"),
        ("a/b/c.d_e-f", "a~2fb~2fc~2ed_e-f"),
    ];
    for (name, spelling) in table {
        let name: BranchName = name.parse().unwrap();
        assert_eq!(name.spelling(), spelling);
        assert_eq!(BranchName::from_spelling(spelling).unwrap(), name);
    }
}

#[test]
fn lengths() {
    let parses = |text: String| text.parse::<BranchName>().is_ok();
    assert!(parses("a".repeat(200)));
    assert!(!parses("a".repeat(201)));
    assert!(parses("ä".repeat(40)));
    assert!(!parses("ä".repeat(41)));
    assert!(parses("a/".repeat(59) + "abcd"));
    assert!(!parses("a/".repeat(59) + "abcde"));
}

#[test]
fn refusals_say_why() {
    let mut refusals = Vec::new();
    for text in [
        "",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a\tb",
        "a\u{9b}b",
        "a\u{202e}b",
        "-a",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a..b",
        "a.",
        "a@{1}",
        "@",
    ] {
        let error = text.parse::<BranchName>().unwrap_err();
        refusals.push(format!("{text:?}: {error}"));
    }
    refusals.push(format!(
        "{}",
        "a".repeat(300).parse::<BranchName>().unwrap_err()
    ));
    refusals.push(format!(
        "{}",
        "ä".repeat(90).parse::<BranchName>().unwrap_err()
    ));
    for text in [
        "", "~61", "a~2", "a~", "a~2F", "a/b", "a.b", "~ff", "a~2f", "~2e~2e", "a~7eb", "ü",
    ] {
        let error = BranchName::from_spelling(text).unwrap_err();
        refusals.push(format!("spelling {text:?}: {error}"));
    }
    let id = "0123abcd".repeat(4);
    for text in ["HEAD", &id, &id.to_uppercase()] {
        let name: BranchName = text.parse().unwrap();
        refusals.push(format!("new: {}", name.check_new().unwrap_err()));
    }
    for text in [
        &id[..31],
        &format!("{id}0"),
        &format!("at-{}", &id[..29]),
        "cafe",
        "20260131",
    ] {
        let name: BranchName = text.parse().unwrap();
        assert_eq!(name.check_new(), Ok(()), "{text}");
    }
    insta::assert_snapshot!(refusals.join("\n"));
}
