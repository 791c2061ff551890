//! Names, volumes, revisions, sizes and ids, as users and other programs write them. Their printed form parses to the
//! same value.

#![no_main]

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use dotmesh_model::names::{MAX_NAME_LENGTH, MAX_SPELLING_LENGTH};
use dotmesh_model::size::{format_size, parse_size};
use dotmesh_model::{
    BranchName, CommitId, DotName, History, Namespace, ObjectHash, Revision, SubdotName, UserName,
    VolumeName,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in [
        is_shown_as_written::<Namespace>(text),
        is_shown_as_written::<SubdotName>(text),
        is_shown_as_written::<UserName>(text),
        comes_back::<DotName>(text).map(|dot| dot.full().replacen('/', "", 1)),
    ] {
        let Some(name) = name else { continue };
        // Each is a safe file name and URL segment.
        assert!((1..=2 * MAX_NAME_LENGTH).contains(&name.len()) && !name.starts_with('-'));
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        );
    }
    if is_shown_as_written::<BranchName>(text).is_some() {
        is_spelled(&text.parse().expect("it was read before"));
    }
    if let Ok(branch) = BranchName::from_spelling(text) {
        assert_eq!(branch.spelling(), text);
        is_spelled(&branch);
    }
    is_shown_as_written::<CommitId>(text);
    is_shown_as_written::<ObjectHash>(text);
    if let Some(volume) = comes_back::<VolumeName>(text) {
        comes_back::<DotName>(&volume.dot.full());
    }
    if let Some(revision) = comes_back::<Revision>(text) {
        let (first, second) = (
            CommitId::from_bytes([0xab; 16]),
            CommitId::from_bytes([0xac; 16]),
        );
        let mut history = History::default();
        history.insert(first, CommitId::ROOT);
        history.insert(second, first);
        let branches = BTreeMap::from([(BranchName::master(), first)]);
        if let Ok(commit) = revision.resolve(second, &branches, &history) {
            assert!(history.contains(commit));
        }
    }
    if let Ok(size) = parse_size(text) {
        format_size(size);
        assert_eq!(parse_size(&size.to_string()), Ok(size));
    }
});

/// Checks that a spelling is safe as a file name, as a URL segment and in a volume's name, and that it stands only
/// for its name.
fn is_spelled(branch: &BranchName) {
    let spelling = branch.spelling();
    assert!((1..=MAX_SPELLING_LENGTH).contains(&spelling.len()) && !spelling.starts_with('-'));
    assert!(
        spelling
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-~".contains(&b))
    );
    for written in [&spelling, branch.as_str()] {
        assert_eq!(BranchName::from_address(written).as_ref(), Ok(branch));
    }
    let volume: VolumeName = format!("app@{spelling}.db").parse().expect("a volume");
    assert_eq!(volume.pinned.as_ref(), Some(branch));
}

fn comes_back<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let again = value.to_string().parse();
    assert_eq!(&value, again.as_ref().expect("what is shown can be read"));
    Some(value)
}

fn is_shown_as_written<T: FromStr + Display>(text: &str) -> Option<String> {
    let value: T = text.parse().ok()?;
    assert_eq!(value.to_string(), text);
    Some(text.to_owned())
}
