//! The mounts handed out to Docker, and those of users.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use dotmesh_model::VolumeName;
use dotmesh_pool::FolderId;
use sqlx::Row as _;

use super::{Registry, Result, parse};
use crate::mounts::HandedOut;

impl Registry {
    /// The mounts that an earlier run of the daemon had handed out and not taken back, oldest first, and the last place
    /// number.
    pub(crate) async fn mounts(&self) -> Result<(Vec<HandedOut>, i64)> {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'mounts'")
                .fetch_optional(&self.db)
                .await?;
        let rows = sqlx::query(
            "SELECT place, caller, volume, branch, subvolume, inode, at, void FROM mounts ORDER BY place",
        )
        .fetch_all(&self.db)
        .await?;
        let mounts = rows.iter().map(|row| {
            let milliseconds = row.try_get(6)?;
            Ok(HandedOut {
                place: row.try_get(0)?,
                caller: row.try_get(1)?,
                volume: parse(row.try_get(2)?)?,
                branch: parse(row.try_get(3)?)?,
                folder: FolderId {
                    subvolume: row.try_get::<i64, _>(4)?.cast_unsigned(),
                    inode: row.try_get::<i64, _>(5)?.cast_unsigned(),
                },
                at: jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default(),
                void: row.try_get(7)?,
            })
        });
        Ok((mounts.collect::<Result<_>>()?, last.unwrap_or(0)))
    }

    /// Replaces the list for the next run.
    pub(crate) async fn save_mounts(&self, mounts: &[HandedOut]) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        sqlx::query("DELETE FROM mounts")
            .execute(&mut *transaction)
            .await?;
        for mount in mounts {
            sqlx::query(
                "INSERT INTO mounts (place, caller, volume, branch, subvolume, inode, at, void) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(mount.place)
            .bind(&mount.caller)
            .bind(mount.volume.to_string())
            .bind(mount.branch.as_str())
            .bind(mount.folder.subvolume.cast_signed())
            .bind(mount.folder.inode.cast_signed())
            .bind(mount.at.as_millisecond())
            .bind(mount.void)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Makes the registry refuse the list, or accept it again.
    #[cfg(test)]
    pub(crate) async fn refuse_mounts(&self, refuse: bool) {
        let line = match refuse {
            true => {
                "CREATE TRIGGER refuse BEFORE INSERT ON mounts BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            }
            false => "DROP TRIGGER refuse",
        };
        sqlx::raw_sql(line).execute(&self.db).await.unwrap();
    }

    /// Stores what is mounted at a user's place.
    pub(crate) async fn add_shown_at(&self, place: &Path, volume: &VolumeName) -> Result<()> {
        sqlx::query("INSERT OR REPLACE INTO shown_at (place, volume) VALUES (?, ?)")
            .bind(place.as_os_str().as_bytes())
            .bind(volume.to_string())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Forgets a user's place.
    pub(crate) async fn forget_shown_at(&self, place: &Path) -> Result<()> {
        sqlx::query("DELETE FROM shown_at WHERE place = ?")
            .bind(place.as_os_str().as_bytes())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// The places of users, and the volumes mounted there.
    pub(crate) async fn shown_at(&self) -> Result<Vec<(PathBuf, VolumeName)>> {
        let rows: Vec<(Vec<u8>, String)> = sqlx::query_as("SELECT place, volume FROM shown_at")
            .fetch_all(&self.db)
            .await?;
        let parsed = rows.into_iter().map(|(place, volume)| {
            let place = OsString::from_vec(place).into();
            Ok((place, parse(&volume)?))
        });
        parsed.collect()
    }
}
