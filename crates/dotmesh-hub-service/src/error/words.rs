//! Parts of the errors' sentences.

use dotmesh_hub_model::quota::Usage;
use dotmesh_hub_model::show;
use dotmesh_model::{DotName, ObjectHash};

/// How much someone stores is for themselves to know.
pub(super) fn full(usage: &Usage, is_own: bool) -> String {
    let Usage { owner, used, limit } = usage;
    match limit {
        Some(limit) if is_own => format!(
            "this would exceed your storage quota: your dots use {} of {}",
            show::bytes(*used),
            show::bytes(*limit)
        ),
        _ => format!("this would exceed the storage quota of {owner}"),
    }
}

pub(super) fn whereabouts(now: Option<&DotName>) -> String {
    match now {
        Some(now) => format!("is called {} now", now.full()),
        None => "is gone, or you may not see it".to_owned(),
    }
}

pub(super) fn more(count: usize) -> String {
    if count > 1 {
        format!(
            ", and {} more of the requested objects are missing",
            count - 1
        )
    } else {
        String::new()
    }
}

pub(super) fn at_least(capped: bool) -> &'static str {
    if capped { "at least " } else { "" }
}

pub(super) fn list(hashes: &[ObjectHash]) -> String {
    hashes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
