//! Resolves a reference in an address: a commit, a branch or a tag.

use dotmesh_model::{BranchName, CommitId};

use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// The fewest digits that may abbreviate a commit's id.
const MIN_DIGITS: usize = 6;

/// Returns the commit of a full id, a branch, a tag, or a unique prefix of an id. They are tried in this order, so that
/// no branch or tag can take over a permalink.
pub async fn resolve_ref(hub: &Hub, dot: &OpenDot, reference: &str) -> Result<CommitId, HubError> {
    let id = dot.existing()?;
    if let Some(commit) = CommitId::from_any_case(reference)
        && let [commit] = hub.database.commits_between(id, commit, commit).await?[..]
    {
        return Ok(commit);
    }
    if let Ok(name) = BranchName::from_address(reference) {
        if let Some(head) = hub.database.branch_head(id, &name).await? {
            return Ok(head);
        }
        if let Some(commit) = hub.database.tagged(id, &name).await? {
            return Ok(commit);
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

/// Returns the commit that a new branch or tag will name. The hub must have its data, so that it can be cloned.
pub(crate) async fn resolve_with_data(
    hub: &Hub,
    dot: &OpenDot,
    reference: &str,
) -> Result<CommitId, HubError> {
    let commit = resolve_ref(hub, dot, reference).await?;
    let is_without = hub.database.is_without_data(dot.existing()?, commit);
    match is_without.await? {
        false => Ok(commit),
        true => Err(HubError::WithoutData {
            dot: dot.name.clone(),
            commit,
        }),
    }
}

/// Returns the first and the last id with these leading digits.
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
