//! The settings of a dot, which maintainers and owners change.

use dotmesh_hub_model::access::{Forks, Visibility};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::BranchName;

use crate::events::Deed;
use crate::ids;
use crate::{Database, DatabaseError};

/// The settings to change. `None` leaves a setting as it is.
#[derive(Debug, Clone, Default)]
pub struct NewSettings {
    /// The description, in Markdown.
    pub description: Option<String>,
    /// The default branch, which pages show first.
    pub default_branch: Option<BranchName>,
    /// Who may see it.
    pub visibility: Option<Visibility>,
    /// Who may fork it while it is private.
    pub forks: Option<Forks>,
}

impl Database {
    /// Changes all the settings. If there is no such branch, it changes nothing and returns `false`. The audit log
    /// gets only settings that differ from before.
    pub async fn set_dot(&self, deed: Deed<'_>, new: &NewSettings) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let old: (String, String, String, String) = sqlx::query_as(
            "SELECT description, default_branch, visibility, forks FROM dots WHERE id = $1",
        )
        .bind(deed.dot)
        .fetch_one(&mut *tx)
        .await?;
        let (description, default_branch, visibility, forks) = old;
        let mut events = Vec::new();
        if let Some(new) = &new.description
            && *new != description
        {
            sqlx::query("UPDATE dots SET description = $1 WHERE id = $2")
                .bind(ids::text(new))
                .bind(deed.dot)
                .execute(&mut *tx)
                .await?;
            events.push(EventKind::Describe);
        }
        if let Some(branch) = &new.default_branch
            && branch.as_str() != default_branch
        {
            let done = sqlx::query(
                "UPDATE dots SET default_branch = $1 WHERE id = $2
                 AND EXISTS (SELECT 1 FROM branches b WHERE b.dot = $2 AND b.name = $1)",
            )
            .bind(branch.as_str())
            .bind(deed.dot)
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            let branch = branch.clone();
            events.push(EventKind::DefaultBranch { branch });
        }
        if let Some(new) = new.visibility
            && new.as_str() != visibility
        {
            sqlx::query("UPDATE dots SET visibility = $1 WHERE id = $2")
                .bind(new.as_str())
                .bind(deed.dot)
                .execute(&mut *tx)
                .await?;
            events.push(match new {
                Visibility::Public => EventKind::Publish,
                Visibility::Private => EventKind::Unpublish,
            });
        }
        if let Some(new) = new.forks
            && new.as_str() != forks
        {
            sqlx::query("UPDATE dots SET forks = $1 WHERE id = $2")
                .bind(new.as_str())
                .bind(deed.dot)
                .execute(&mut *tx)
                .await?;
            events.push(EventKind::AllowForks { forks: new });
        }
        for event in events {
            deed.log(&mut tx, event).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
