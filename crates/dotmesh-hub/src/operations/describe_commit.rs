//! What a commit says of itself, as people read it.

use std::collections::BTreeMap;

use dotmesh_model::{
    BranchName, CodeVersion, CommitId, CommitRecord, DotName, ImageUse, LeftOut, ObjectHash,
};
use jiff::Timestamp;

use crate::auth::OpenDot;
use crate::error::HubError;
use crate::limits::{AUTHOR, LEFT_OUT, Limit, METADATA, METADATA_NAME, METADATA_VALUE};
use crate::state::Hub;
use crate::web::show;

/// A commit in a list.
#[derive(Debug, Clone)]
pub struct CommitSummary {
    /// Its id.
    pub id: CommitId,
    /// The first paragraph of its message.
    pub title: String,
    /// The other paragraphs.
    pub body: String,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: Timestamp,
    /// Whether its data is not here.
    pub without_data: bool,
}

impl CommitSummary {
    /// From its parts, with its data.
    pub fn new(id: CommitId, author: &str, time: Timestamp, message: &str) -> Self {
        let (title, body) = show::split_message(message);
        Self {
            id,
            title: show::cut(&title, show::MAX_TITLE).into_owned(),
            body: show::cut(body, show::MAX_SUMMARY).into_owned(),
            author: show::cut(author, show::MAX_TITLE).into_owned(),
            time,
            without_data: false,
        }
    }

    /// The beginning of its id.
    pub fn short(&self) -> String {
        self.id.to_string()[..12].to_owned()
    }
}

/// All that a commit says of itself.
#[derive(Debug, Clone)]
pub struct CommitDetails {
    /// Its id.
    pub id: CommitId,
    /// The one before it; `None` for the first.
    pub parent: Option<CommitId>,
    /// Its seal.
    pub seal: ObjectHash,
    /// The root of its tree.
    pub root: ObjectHash,
    /// The branch it was made on.
    pub branch: BranchName,
    /// The first paragraph of its message.
    pub title: String,
    /// The other paragraphs.
    pub body: String,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: Timestamp,
    /// Values that its author gave.
    pub metadata: BTreeMap<String, String>,
    /// What ran at that instant.
    pub images: Vec<ImageUse>,
    /// The version of the code.
    pub code: Option<CodeVersion>,
    /// What it had where it was made, and does not have here.
    pub left_out: LeftOut,
    /// The dot's name where it was made.
    pub dot: Option<DotName>,
    /// Whether its data is not here.
    pub without_data: bool,
    /// Whether that of its parent is not.
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
    // A title that is cut is not lost.
    let body = if title == first {
        rest
    } else {
        record.message.trim()
    };
    let (title, body) = (
        title.into_owned(),
        show::cut(body, show::MAX_TEXT).into_owned(),
    );
    // A record of an older hub may have more than one takes today: the page shows as much as today's may have.
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

/// Describes a commit of a dot that is to be looked into.
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
    /// The page of the code's version, where its host is one whose pages are known.
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
