//! The tags of a dot, in one small file that is replaced atomically.

use std::collections::BTreeMap;

use dotmesh_model::{BranchName, CommitId, DotName};
use serde::{Deserialize, Serialize};

use super::Pool;
use crate::error::PoolError;
use crate::layout::{read_json, write_json};

/// `tags.json`: names for single commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsFile {
    /// The tags by name. Names follow the rules of branch names.
    #[serde(default)]
    pub tags: BTreeMap<BranchName, StoredTag>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTag {
    /// The commit.
    pub commit: CommitId,
    /// Its message. Often empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was created.
    pub time: jiff::Timestamp,
}

impl Pool {
    /// The tags of a dot.
    pub async fn tags(&self, dot: &DotName) -> Result<TagsFile, PoolError> {
        let path = self.inner.layout.tags(dot);
        self.run(move |_| Ok(read_json(&path)?.unwrap_or_default()))
            .await
    }

    /// Replaces the tags of a dot durably.
    pub async fn write_tags(&self, dot: &DotName, tags: &TagsFile) -> Result<(), PoolError> {
        let (path, tags) = (self.inner.layout.tags(dot), tags.clone());
        self.run(move |_| write_json(&path, &tags)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_str!("../../../../testdata/v1/pool/tags.json");
        let read: TagsFile = serde_json::from_str(kept).expect("the file");
        let written = serde_json::to_string_pretty(&read).expect("JSON");
        assert_eq!(written, kept, "nothing is lost, nothing is unknown");
    }
}
