//! The commits of pushes whose databases are still to be read for a hub.

use dotmesh_api::node::{HubLogin, RowsTold, Source, SummaryStatus};
use dotmesh_model::CommitId;

use super::{Registry, Result, parse};
use crate::error::NodeError;

/// A commit whose databases a hub is to be told of.
#[derive(Debug, Clone)]
pub(crate) struct WaitingSummary {
    pub(crate) number: i64,
    /// The id of the dot here.
    pub(crate) dot: String,
    pub(crate) there: Source,
    pub(crate) commit: CommitId,
    pub(crate) login: HubLogin,
    pub(crate) what: RowsTold,
    /// How many attempts have failed.
    pub(crate) tries: usize,
    /// When the next attempt is due, in seconds since 1970.
    pub(crate) due: i64,
}

/// A row: number, dot, hub, hub_dot, id, login, what, tries, due.
type Row = (
    i64,
    String,
    String,
    String,
    String,
    String,
    String,
    i64,
    i64,
);

impl Registry {
    /// Adds commits of a dot, the newest one last. Those that were given up are tried again. Of the commits of a dot that are
    /// here, only the `most` newest stay.
    pub(crate) async fn add_summaries(
        &self,
        (dot, there): (&str, &Source),
        commits: &[CommitId],
        (login, what): (&HubLogin, RowsTold),
        (now, most): (i64, usize),
    ) -> Result<()> {
        let login = serde_json::to_string(login).expect("a login has only string keys");
        let mut transaction = self.db.begin().await?;
        for commit in commits {
            sqlx::query(
                "INSERT OR REPLACE INTO summaries (dot, hub, hub_dot, id, login, what, tries, due)
                 VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
            )
            .bind(dot)
            .bind(&there.hub)
            .bind(there.dot.full())
            .bind(commit.to_string())
            .bind(&login)
            .bind(text(what))
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "DELETE FROM summaries WHERE dot = ?1 AND number NOT IN
                 (SELECT number FROM summaries WHERE dot = ?1 ORDER BY number DESC LIMIT ?2)",
        )
        .bind(dot)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The commit to read next: of those that are due, the newest one of the newest push, else the one that is due first.
    pub(crate) async fn next_summary(&self, now: i64) -> Result<Option<WaitingSummary>> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT number, dot, hub, hub_dot, id, login, what, tries, due FROM summaries WHERE login IS NOT NULL
             ORDER BY max(due - ?, 0), number DESC LIMIT 1",
        )
        .bind(now)
        .fetch_optional(&self.db)
        .await?;
        let Some((number, dot, hub, hub_dot, id, login, what, tries, due)) = row else {
            return Ok(None);
        };
        let damaged = |error: serde_json::Error| NodeError::RegistryDamaged(error.to_string());
        Ok(Some(WaitingSummary {
            number,
            dot,
            there: Source {
                hub,
                dot: parse(&hub_dot)?,
            },
            commit: parse(&id)?,
            login: serde_json::from_str(&login).map_err(damaged)?,
            what: match what == text(RowsTold::Changes) {
                true => RowsTold::Changes,
                false => RowsTold::Counts,
            },
            tries: usize::try_from(tries).unwrap_or_default(),
            due,
        }))
    }

    /// Forgets a commit that needs no summary any more.
    pub(crate) async fn end_summary(&self, number: i64) -> Result<()> {
        sqlx::query("DELETE FROM summaries WHERE number = ?")
            .bind(number)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Notes that an attempt has failed, and when the next one is due. Without a next one, the login is forgotten.
    pub(crate) async fn fail_summary(
        &self,
        number: i64,
        why: &str,
        due: Option<i64>,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE summaries SET why = ?2, tries = tries + 1, due = coalesce(?3, due),
                                  login = iif(?3 IS NULL, NULL, login)
             WHERE number = ?1",
        )
        .bind(number)
        .bind(why)
        .bind(due)
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// The commits of a dot that wait or were given up, in the order of the attempts.
    pub(crate) async fn summaries(&self, dot: &str) -> Result<Vec<SummaryStatus>> {
        let rows: Vec<(String, String, String, Option<String>, bool)> = sqlx::query_as(
            "SELECT hub, hub_dot, id, why, login IS NULL FROM summaries WHERE dot = ? ORDER BY number DESC",
        )
        .bind(dot)
        .fetch_all(&self.db)
        .await?;
        let statuses = rows.into_iter().map(|(hub, hub_dot, id, why, given_up)| {
            Ok(SummaryStatus {
                commit: parse(&id)?,
                there: Source {
                    hub,
                    dot: parse(&hub_dot)?,
                },
                why,
                given_up,
            })
        });
        statuses.collect()
    }
}

fn text(what: RowsTold) -> &'static str {
    match what {
        RowsTold::Counts => "counts",
        RowsTold::Changes => "changes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Branch, Dot};
    use dotmesh_model::BranchName;

    #[tokio::test]
    async fn the_newest_commit_comes_first_and_a_failed_one_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let registry = Registry::open(&file).await.unwrap();
        let branch = Branch {
            head: CommitId::ROOT,
            origin: None,
        };
        let dot = Dot {
            id: "0".repeat(32),
            name: "app".parse().unwrap(),
            current: BranchName::master(),
            branches: [(BranchName::master(), branch)].into(),
        };
        registry.put_dot(&dot).await.unwrap();
        let there = Source {
            hub: "https://hub.example.com".to_owned(),
            dot: "alice/app".parse().unwrap(),
        };
        let login = HubLogin {
            address: there.hub.clone(),
            account: None,
        };
        let ids: Vec<CommitId> = (1..=4).map(|n| CommitId::from_bytes([n; 16])).collect();
        let add = async |commits: &[CommitId]| {
            let (place, what) = ((dot.id.as_str(), &there), (&login, RowsTold::Changes));
            let added = registry.add_summaries(place, commits, what, (100, 3));
            added.await.unwrap();
        };
        let next = async |now| registry.next_summary(now).await.unwrap();
        assert!(next(100).await.is_none());
        add(&ids).await;
        let waiting = registry.summaries(&dot.id).await.unwrap();
        let waiting: Vec<CommitId> = waiting.iter().map(|one| one.commit).collect();
        // Only three can wait.
        assert_eq!(waiting, [ids[3], ids[2], ids[1]]);
        let first = next(100).await.unwrap();
        assert_eq!((first.commit, first.what), (ids[3], RowsTold::Changes));
        registry
            .fail_summary(first.number, "no image", Some(160))
            .await
            .unwrap();
        let second = next(100).await.unwrap();
        assert_eq!(second.commit, ids[2]);
        registry.end_summary(second.number).await.unwrap();
        let third = next(100).await.unwrap();
        registry
            .fail_summary(third.number, "refused", None)
            .await
            .unwrap();
        // What is left is the failed one, once its time has come.
        let again = next(100).await.unwrap();
        assert_eq!((again.commit, again.tries, again.due), (ids[3], 1, 160));
        let shown = registry.summaries(&dot.id).await.unwrap();
        let shown: Vec<_> = shown
            .iter()
            .map(|one| (one.why.as_deref(), one.given_up))
            .collect();
        assert_eq!(shown, [(Some("no image"), false), (Some("refused"), true)]);
        // Another push begins anew, also with what was given up.
        add(&ids[1..2]).await;
        assert_eq!(next(100).await.unwrap().commit, ids[1]);
        // A given up commit keeps no secret.
        let kept: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM summaries WHERE why = 'refused' AND login IS NOT NULL",
        )
        .fetch_one(&registry.db)
        .await
        .unwrap();
        assert_eq!(kept, 0);
        registry.delete_dot(&dot.id).await.unwrap();
        assert!(next(1000).await.is_none());
    }
}
