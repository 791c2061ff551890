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

impl Registry {
    /// Stores the journal before the switch stops anything.
    pub(crate) async fn begin_switch(&self, journal: &SwitchJournal) -> Result<()> {
        let text = serde_json::to_string(journal).expect("a journal has only string keys");
        sqlx::query("INSERT OR REPLACE INTO switches (dot, journal) VALUES (?, ?)")
            .bind(journal.dot.full())
            .bind(text)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Deletes a dot's journal.
    pub(crate) async fn end_switch(&self, dot: &DotName) -> Result<()> {
        sqlx::query("DELETE FROM switches WHERE dot = ?")
            .bind(dot.full())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// The journal of a dot's unfinished switch.
    pub(crate) async fn open_switch(&self, dot: &DotName) -> Result<Option<SwitchJournal>> {
        let open = self.open_switches().await?;
        Ok(open.into_iter().find(|journal| journal.dot == *dot))
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
