//! How dots came to be: which were cloned, and which Docker has made for a volume, in order.

use std::str::FromStr;

use super::{Registry, Result};
use crate::error::NodeError;

/// Who made a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeBy {
    /// A volume of a dot that was not there.
    Docker,
    /// `dm clone`, maybe into a dot that was there.
    Clone,
}

impl MadeBy {
    /// What the registry and the pool call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Clone => "clone",
        }
    }
}

impl FromStr for MadeBy {
    type Err = NodeError;
    fn from_str(text: &str) -> Result<Self> {
        let makers = [Self::Docker, Self::Clone];
        let known = makers.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| NodeError::RegistryDamaged(format!("unknown maker {text}")))
    }
}

impl Registry {
    /// Remembers who made a dot, as the last that was made.
    pub(crate) async fn note_made_by(&self, dot: &str, maker: MadeBy) -> Result<()> {
        sqlx::query("INSERT OR REPLACE INTO made_by (dot, maker) VALUES (?, ?)")
            .bind(dot)
            .bind(maker.as_str())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// The ids of the dots of which that is known, the first made first.
    pub(crate) async fn made_by(&self) -> Result<Vec<(String, MadeBy)>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT dot, maker FROM made_by ORDER BY number")
                .fetch_all(&self.db)
                .await?;
        let read = |(dot, maker): (String, String)| Ok((dot, maker.parse()?));
        rows.into_iter().map(read).collect()
    }
}
