//! The journals of switches.

use dotmesh_model::{BranchName, DotName};
use serde::{Deserialize, Serialize};

use super::{Registry, Result};
use crate::error::NodeError;

/// What a switch must bring to an end, after a crash or when it could not do it itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SwitchJournal {
    /// The dot.
    pub(crate) dot: DotName,
    /// The containers that shall run again.
    pub(crate) containers: Vec<ToStart>,
    /// A branch that was made for the switch. It is deleted unless it became the current one.
    pub(crate) created: Option<BranchName>,
}

/// A container that shall run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToStart {
    /// Its id.
    pub(crate) id: String,
    /// Its name, for people.
    pub(crate) name: String,
    /// Whether it is paused once it runs.
    pub(crate) pause: bool,
    /// Until then it may still be stopped by an earlier request that was not answered.
    #[serde(default)]
    pub(crate) stopping_until: Option<jiff::Timestamp>,
}

impl Registry {
    /// Writes down a switch before it stops anything.
    pub(crate) async fn begin_switch(&self, journal: &SwitchJournal) -> Result<()> {
        let text = serde_json::to_string(journal).expect("a journal has only string keys");
        sqlx::query("INSERT OR REPLACE INTO switches (dot, journal) VALUES (?, ?)")
            .bind(journal.dot.full())
            .bind(text)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Crosses a switch out.
    pub(crate) async fn end_switch(&self, dot: &DotName) -> Result<()> {
        sqlx::query("DELETE FROM switches WHERE dot = ?")
            .bind(dot.full())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// The switch of a dot that was begun and not ended.
    pub(crate) async fn open_switch(&self, dot: &DotName) -> Result<Option<SwitchJournal>> {
        let open = self.open_switches().await?;
        Ok(open.into_iter().find(|journal| journal.dot == *dot))
    }

    /// The switches that were begun and not ended.
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
