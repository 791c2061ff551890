//! What a commit says of itself, as people read it.

use std::collections::BTreeMap;

use dotmesh_api::hub::SealedCommit;
use dotmesh_model::{
    BranchName, CodeVersion, CommitId, CommitRecord, ImageUse, InvalidRecord, ObjectHash,
};
use jiff::Timestamp;

use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;
use crate::web::show;

/// A commit in a list.
#[derive(Debug, Clone)]
pub struct CommitSummary {
    /// Its id.
    pub id: CommitId,
    /// The first line of its message.
    pub title: String,
    /// The other lines.
    pub body: String,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: Timestamp,
}

impl CommitSummary {
    /// From its parts.
    pub fn new(id: CommitId, author: String, time: Timestamp, message: &str) -> Self {
        let (title, body) = show::split_message(message);
        Self {
            id,
            title: title.to_owned(),
            body: body.to_owned(),
            author,
            time,
        }
    }

    /// Of a commit as it travels.
    pub fn of(sealed: &SealedCommit) -> Result<Self, InvalidRecord> {
        let record = CommitRecord::decode(sealed.record.as_bytes())?;
        Ok(Self::new(
            record.id,
            record.author,
            record.time,
            &record.message,
        ))
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
    /// The first line of its message.
    pub title: String,
    /// The other lines.
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
}

/// Describes a commit of a dot.
pub async fn describe_commit(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<CommitDetails, HubError> {
    let ancestry = hub
        .database
        .ancestry(dot.existing()?, commit, CommitId::ROOT, 1)
        .await?;
    let sealed = ancestry.commits.into_iter().next();
    let sealed = sealed.ok_or_else(|| {
        let dot = dot.name.clone();
        if commit == CommitId::ROOT {
            HubError::NothingCommitted { dot }
        } else {
            HubError::NoSuchCommit { dot, commit }
        }
    })?;
    let record = CommitRecord::decode(sealed.record.as_bytes())?;
    let (title, body) = show::split_message(&record.message);
    Ok(CommitDetails {
        id: record.id,
        parent: (record.parent != CommitId::ROOT).then_some(record.parent),
        seal: sealed.seal,
        root: sealed.root,
        branch: record.branch,
        title: title.to_owned(),
        body: body.to_owned(),
        author: record.author,
        time: record.time,
        metadata: record.metadata,
        images: record.images,
        code: record.code,
    })
}

impl CommitDetails {
    /// The commands that have this very state running.
    pub fn commands(&self, hub_url: &str, dot_url: &str) -> Vec<String> {
        let mut commands = Vec::new();
        if let Some(code) = &self.code {
            if let Some(remote) = &code.remote {
                commands.push(format!("git clone {}", quote(remote)));
            }
            commands.push(format!("git checkout {}", quote(&code.commit)));
        }
        commands.push(format!("dm clone {hub_url}{dot_url}/commit/{}", self.id));
        commands.push("docker-compose up -d".to_owned());
        commands
    }

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

/// A word as the shell takes it: what others have written into a record runs nothing.
fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !word.is_empty() && !word.starts_with('-') && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    let visible: String = word.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", visible.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_record_runs_nothing() {
        assert_eq!(quote("git@github.com:a/b.git"), "git@github.com:a/b.git");
        assert_eq!(quote("a; rm -rf /"), "'a; rm -rf /'");
        assert_eq!(quote("a'\n$(b)"), r"'a'\''$(b)'");
        assert_eq!(quote("--upload-pack=x"), "'--upload-pack=x'");
    }
}
