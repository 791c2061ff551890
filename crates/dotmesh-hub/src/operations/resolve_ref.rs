//! What a reference in an address stands for: a branch, a tag, a commit.

use dotmesh_model::{BranchName, CommitId};

use crate::auth::OpenDot;
use crate::database::paging::Part;
use crate::error::HubError;
use crate::state::Hub;

/// The fewest digits of a commit's id that stand for it.
const MIN_DIGITS: usize = 6;

/// The commit: a branch's head, a tag's, or the only one whose id begins so. In this order.
pub async fn resolve_ref(hub: &Hub, dot: &OpenDot, reference: &str) -> Result<CommitId, HubError> {
    let id = dot.existing()?;
    if let Ok(name) = BranchName::from_address(reference) {
        let branches = hub.database.branches(id).await?;
        if let Some(branch) = branches.iter().find(|branch| branch.name == name) {
            return Ok(branch.head);
        }
        let tags = hub.database.tags(id, Part::all()).await?;
        if let Some(tag) = tags.iter().find(|tag| tag.name == name) {
            return Ok(tag.commit);
        }
    }
    let found = match range(reference) {
        Some((first, last)) => hub.database.commits_between(id, first, last).await?,
        None => Vec::new(),
    };
    match found[..] {
        [commit] => Ok(commit),
        [] => Err(HubError::NoSuchRef {
            dot: dot.name.clone(),
            reference: reference.chars().take(80).collect(),
        }),
        _ => Err(HubError::AmbiguousRef {
            dot: dot.name.clone(),
            reference: reference.to_owned(),
        }),
    }
}

/// The first and the last id that begin with these digits.
fn range(digits: &str) -> Option<(CommitId, CommitId)> {
    let length = 2 * CommitId::LENGTH;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(MIN_DIGITS..=length).contains(&digits.len()) {
        return None;
    }
    let digits = digits.to_ascii_lowercase();
    let first = format!("{digits:0<length$}").parse().ok()?;
    let last = format!("{digits:f<length$}").parse().ok()?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn digits_are_a_range() {
        let (first, last) = range("00FFee").expect("enough digits");
        assert_eq!(first.to_string(), "00ffee00000000000000000000000000");
        assert_eq!(last.to_string(), "00ffeeffffffffffffffffffffffffff");
        for bad in ["", "00ffe", "00ffeg", &"0".repeat(33)] {
            assert!(range(bad).is_none(), "{bad}");
        }
    }
}
