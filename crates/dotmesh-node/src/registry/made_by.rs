//! Which dots were cloned or made by Docker for a volume, in order of creation.

use std::str::FromStr;

use super::{Registry, Result};
use crate::error::NodeError;

/// How a dot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeBy {
    /// Docker created a volume of a dot that did not exist.
    Docker,
    /// By `dm clone`, maybe into an existing dot.
    Clone,
}

impl MadeBy {
    /// Its name in the registry and the pool.
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
    /// Stores how a dot was made, as the newest entry.
    pub(crate) async fn note_made_by(&self, dot: &str, maker: MadeBy) -> Result<()> {
        sqlx::query("INSERT OR REPLACE INTO made_by (dot, maker) VALUES (?, ?)")
            .bind(dot)
            .bind(maker.as_str())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// The ids of the dots for which that is known, oldest first.
    pub(crate) async fn made_by(&self) -> Result<Vec<(String, MadeBy)>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT dot, maker FROM made_by ORDER BY number")
                .fetch_all(&self.db)
                .await?;
        let read = |(dot, maker): (String, String)| Ok((dot, maker.parse()?));
        rows.into_iter().map(read).collect()
    }
}
