//! Describes a commit for people.

use std::collections::BTreeMap;

use dotmesh_hub_model::limits::{AUTHOR, LEFT_OUT, Limit, METADATA, METADATA_NAME, METADATA_VALUE};
use dotmesh_hub_model::show;
use dotmesh_model::{
    BranchName, CodeVersion, CommitId, CommitRecord, DotName, ImageUse, LeftOut, ObjectHash,
};
use jiff::Timestamp;

use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// Everything that a commit's record says.
#[derive(Debug, Clone)]
pub struct CommitDetails {
    /// Its id.
    pub id: CommitId,
    /// The parent. `None` for the first commit.
    pub parent: Option<CommitId>,
    /// Its seal.
    pub seal: ObjectHash,
    /// The root of its tree.
    pub root: ObjectHash,
    /// The branch that it was made on.
    pub branch: BranchName,
    /// The first paragraph of its message.
    pub title: String,
    /// The other paragraphs.
    pub body: String,
    /// Its author.
    pub author: String,
    /// When it was made.
    pub time: Timestamp,
    /// Metadata that the author gave.
    pub metadata: BTreeMap<String, String>,
    /// The images that ran when the commit was made.
    pub images: Vec<ImageUse>,
    /// The version of the app's code.
    pub code: Option<CodeVersion>,
    /// The files that the commit has on its node, but not on the hub.
    pub left_out: LeftOut,
    /// The dot's name on its node.
    pub dot: Option<DotName>,
    /// Whether the hub lacks its data.
    pub without_data: bool,
    /// Whether the hub lacks its parent's data.
    pub parent_without_data: bool,
}

/// Describes a commit of a dot.
pub async fn describe_commit(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<CommitDetails, HubError> {
    let ancestry = hub
        .database
        .ancestry(dot.existing()?, commit, CommitId::ROOT, 2)
        .await?;
    let mut line = ancestry.commits.into_iter();
    let (sealed, parent) = (line.next(), line.next());
    let sealed = sealed.ok_or_else(|| {
        let dot = dot.name.clone();
        if commit == CommitId::ROOT {
            HubError::NothingCommitted { dot }
        } else {
            HubError::NoSuchCommit { dot, commit }
        }
    })?;
    let record = CommitRecord::decode(sealed.record.as_bytes())?;
    let (first, rest) = show::split_message(&record.message);
    let title = show::cut(&first, show::MAX_TITLE);
    // If the title is cut, the body repeats the whole message.
    let body = if title == first {
        rest
    } else {
        record.message.trim()
    };
    let (title, body) = (
        title.into_owned(),
        show::cut(body, show::MAX_TEXT).into_owned(),
    );
    // An older hub may have accepted a longer record. The page shows as much as today's limits allow.
    let text = |text: String, most: &Limit| show::cut(&text, most.most).into_owned();
    let metadata = record.metadata.into_iter().take(METADATA.most);
    let metadata =
        metadata.map(|(name, value)| (text(name, &METADATA_NAME), text(value, &METADATA_VALUE)));
    let left_out = sealed.left_out.unwrap_or_default();
    Ok(CommitDetails {
        id: record.id,
        parent: (record.parent != CommitId::ROOT).then_some(record.parent),
        seal: sealed.seal,
        root: sealed.root,
        branch: record.branch,
        title,
        body,
        author: text(record.author, &AUTHOR),
        time: record.time,
        metadata: metadata.collect(),
        images: record.images,
        code: record.code,
        left_out: left_out.within(LEFT_OUT.most),
        dot: record.dot,
        without_data: sealed.without_data,
        parent_without_data: parent.is_some_and(|parent| parent.without_data),
    })
}

/// Describes a commit, or returns an error if the hub lacks its data.
pub async fn describe_with_data(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<CommitDetails, HubError> {
    let commit = describe_commit(hub, dot, commit).await?;
    match commit.without_data {
        false => Ok(commit),
        true => Err(HubError::WithoutData {
            dot: dot.name.clone(),
            commit: commit.id,
        }),
    }
}

impl CommitDetails {
    /// Returns the page of the code's version, if the layout of the host's pages is known.
    pub fn code_url(&self) -> Option<String> {
        let code = self.code.as_ref()?;
        let remote = code.remote.as_deref()?;
        let path = remote
            .strip_prefix("https://")
            .or_else(|| remote.strip_prefix("ssh://git@"))
            .map(str::to_owned)
            .or_else(|| Some(remote.strip_prefix("git@")?.replacen(':', "/", 1)))?;
        let path = path.trim_end_matches('/').trim_end_matches(".git");
        let (host, _) = path.split_once('/')?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let folder = match host {
            "github.com" | "codeberg.org" => "commit",
            "gitlab.com" => "-/commit",
            "bitbucket.org" => "commits",
            _ => return None,
        };
        let commit = &code.commit;
        (path.bytes().all(is_plain) && commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| format!("https://{path}/{folder}/{commit}"))
    }
}
