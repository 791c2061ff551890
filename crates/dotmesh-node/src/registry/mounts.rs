//! What was handed out to Docker, and what users have mounted for themselves.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use dotmesh_model::{BranchName, VolumeName};
use dotmesh_pool::FolderId;
use sqlx::Row as _;

use super::{Registry, Result, parse};
use crate::mounts::HandedOut;

impl Registry {
    /// Remembers a mount that is about to be handed out, and gives it a place.
    pub(crate) async fn add_mount(
        &self,
        caller: &str,
        volume: &VolumeName,
        branch: &BranchName,
        folder: FolderId,
    ) -> Result<i64> {
        let place = sqlx::query_scalar(
            "INSERT INTO mounts (caller, volume, branch, subvolume, inode, at) VALUES (?, ?, ?, ?, ?, ?)
             RETURNING place",
        )
        .bind(caller)
        .bind(volume.to_string())
        .bind(branch.as_str())
        .bind(folder.subvolume.cast_signed())
        .bind(folder.inode.cast_signed())
        .bind(jiff::Timestamp::now().as_millisecond())
        .fetch_one(&self.db)
        .await?;
        Ok(place)
    }

    /// The place of what was handed out to a caller, the last of several.
    pub(crate) async fn mount_of(&self, caller: &str, volume: &str) -> Result<Option<i64>> {
        // Docker writes a volume's name as it was created with, which is not always how we write it.
        let volume: VolumeName = volume.parse()?;
        let place = sqlx::query_scalar(
            "SELECT place FROM mounts WHERE caller = ? AND volume = ? ORDER BY place DESC LIMIT 1",
        )
        .bind(caller)
        .bind(volume.to_string())
        .fetch_optional(&self.db)
        .await?;
        Ok(place)
    }

    /// What was handed out and not taken back, the oldest first.
    pub(crate) async fn mounts(&self) -> Result<Vec<HandedOut>> {
        let rows = sqlx::query(
            "SELECT place, volume, branch, subvolume, inode, at, void FROM mounts ORDER BY place",
        )
        .fetch_all(&self.db)
        .await?;
        rows.iter()
            .map(|row| {
                let milliseconds = row.try_get(5)?;
                Ok(HandedOut {
                    place: row.try_get(0)?,
                    volume: parse(row.try_get(1)?)?,
                    branch: parse(row.try_get(2)?)?,
                    folder: FolderId {
                        subvolume: row.try_get::<i64, _>(3)?.cast_unsigned(),
                        inode: row.try_get::<i64, _>(4)?.cast_unsigned(),
                    },
                    at: jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default(),
                    void: row.try_get(6)?,
                })
            })
            .collect()
    }

    /// Notes of the mounts until a time that whoever asked for them is gone.
    pub(crate) async fn void_mounts(&self, before: jiff::Timestamp) -> Result<()> {
        sqlx::query("UPDATE mounts SET void = 1 WHERE at < ?")
            .bind(before.as_millisecond())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Forgets a mount.
    pub(crate) async fn forget_mount(&self, place: i64) -> Result<()> {
        sqlx::query("DELETE FROM mounts WHERE place = ?")
            .bind(place)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Remembers what is shown at a user's place.
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

    /// The places of users, and what is shown there.
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
