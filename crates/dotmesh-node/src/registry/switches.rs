//! The journals of switches.

use dotmesh_model::{BranchName, DotName};
use serde::{Deserialize, Serialize};

use super::{Registry, Result};
use crate::error::NodeError;

/// What must still be done for a switch, after a crash or when the switch itself could not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SwitchJournal {
    /// The dot.
    pub(crate) dot: DotName,
    /// The branch to which the containers are pinned. `None` if they follow the branch that is checked out.
    #[serde(default)]
    pub(crate) pinned: Option<BranchName>,
    /// The containers to start again.
    pub(crate) containers: Vec<ToStart>,
    /// A branch that was made for the switch. It is deleted unless it became the current branch.
    pub(crate) created: Option<BranchName>,
}

/// A container to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToStart {
    /// Its id.
    pub(crate) id: String,
    /// Its name, for messages.
    pub(crate) name: String,
    /// Whether to pause it once it runs.
    pub(crate) pause: bool,
    /// An unanswered earlier request may still stop it until then.
    #[serde(default)]
    pub(crate) stopping_until: Option<jiff::Timestamp>,
}

/// `alice/app`, or `alice/app@BRANCH` for the containers that are pinned to a branch.
fn key(dot: &DotName, pinned: Option<&BranchName>) -> String {
    match pinned {
        None => dot.full(),
        Some(branch) => format!("{}@{}", dot.full(), branch.spelling()),
    }
}

impl Registry {
    /// Stores the journal before the switch stops anything.
    pub(crate) async fn begin_switch(&self, journal: &SwitchJournal) -> Result<()> {
        let text = serde_json::to_string(journal).expect("a journal has only string keys");
        sqlx::query("INSERT OR REPLACE INTO switches (dot, journal) VALUES (?, ?)")
            .bind(key(&journal.dot, journal.pinned.as_ref()))
            .bind(text)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Deletes a journal of a dot.
    pub(crate) async fn end_switch(
        &self,
        dot: &DotName,
        pinned: Option<&BranchName>,
    ) -> Result<()> {
        sqlx::query("DELETE FROM switches WHERE dot = ?")
            .bind(key(dot, pinned))
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Deletes all journals of a dot.
    pub(crate) async fn end_switches(&self, dot: &DotName) -> Result<()> {
        for journal in self.open_switches().await? {
            if journal.dot == *dot {
                self.end_switch(dot, journal.pinned.as_ref()).await?;
            }
        }
        Ok(())
    }

    /// The journal of an unfinished switch of a dot.
    pub(crate) async fn open_switch(
        &self,
        dot: &DotName,
        pinned: Option<&BranchName>,
    ) -> Result<Option<SwitchJournal>> {
        let mut open = self.open_switches().await?.into_iter();
        Ok(open.find(|journal| journal.dot == *dot && journal.pinned.as_ref() == pinned))
    }

    /// The journals of all unfinished switches.
    pub(crate) async fn open_switches(&self) -> Result<Vec<SwitchJournal>> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT journal FROM switches")
            .fetch_all(&self.db)
            .await?;
        rows.iter()
            .map(|(text,)| {
                serde_json::from_str(text)
                    .map_err(|error| NodeError::RegistryDamaged(error.to_string()))
            })
            .collect()
    }
}
