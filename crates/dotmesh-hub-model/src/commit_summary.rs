//! Commits as lists and graphs show them.

use dotmesh_model::CommitId;
use jiff::Timestamp;

use crate::show;

/// A commit in a list.
#[derive(Debug, Clone)]
pub struct CommitSummary {
    /// Its id.
    pub id: CommitId,
    /// The first paragraph of its message.
    pub title: String,
    /// The other paragraphs.
    pub body: String,
    /// Its author.
    pub author: String,
    /// When it was made.
    pub time: Timestamp,
    /// Whether the hub lacks its data.
    pub without_data: bool,
}

impl CommitSummary {
    /// Creates the summary of a commit that has its data.
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

    /// Returns the first 12 digits of the id.
    pub fn short(&self) -> String {
        self.id.to_string()[..12].to_owned()
    }
}

/// A commit and its parent's id.
#[derive(Debug, Clone)]
pub struct GraphCommit {
    /// The commit.
    pub commit: CommitSummary,
    /// The parent's id. The parent need not be drawn.
    pub parent: CommitId,
}
