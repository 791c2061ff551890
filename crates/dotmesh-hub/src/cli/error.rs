//! Failures of the program: what is shown, and which exit code it gets.

use std::error::Error;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_model::credentials::InvalidPassword;
use dotmesh_hub_service::HubError;
use dotmesh_hub_service::backup::{BackupError, FolderError, RestoreError, VerifyError};
use dotmesh_hub_service::data_dir::DataDirError;
use dotmesh_hub_service::operations::collect_garbage::CollectError;
use dotmesh_hub_service::operations::repack::RepackError;
use dotmesh_hub_service::store_url::StoreUrlError;
use dotmesh_model::UserName;

use crate::tls::TlsError;

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        Self::Backup(Box::new(error))
    }
}

impl From<RepackError> for CliError {
    fn from(error: RepackError) -> Self {
        match error {
            RepackError::Own(error) => Self::Collect(error),
            error => Self::Repack(Box::new(error)),
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        Self::Restore(Box::new(error))
    }
}

impl From<VerifyError> for CliError {
    fn from(error: VerifyError) -> Self {
        Self::Verify(Box::new(error))
    }
}

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The folder cannot be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// There is no place for the data.
    #[error("no place for the hub's data is given")]
    NoFolder,
    /// The database's server cannot be used.
    #[error("cannot use the database {address}")]
    Connect {
        /// Without password.
        address: String,
        #[source]
        source: DatabaseError,
    },
    /// The objects cannot be kept where they shall be.
    #[error(transparent)]
    Store(#[from] StoreUrlError),
    /// There is no certificate to speak TLS with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Garbage could not be collected.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The store could not be repacked. What was done before stays done.
    #[error("the repack has stopped")]
    Repack(#[source] Box<RepackError>),
    /// The store could not be checked to its end.
    #[error("the check has stopped")]
    Check(#[source] Box<HubError>),
    /// The check has found problems.
    #[error("the store has {0} problems")]
    Problems(u64),
    /// Another process repacks.
    #[error("the hub is being repacked already")]
    Repacking,
    /// Packs were left alone.
    #[error("{0} packs are lost or damaged, and were not repacked")]
    DamagedPacks(u64),
    /// No backup was taken.
    #[error("no backup was taken")]
    Backup(#[source] Box<BackupError>),
    /// The hub itself has lost something.
    #[error("{0} packs are lost or damaged in the hub's store; everything else is in the backup")]
    Lost(u64),
    /// The backup was taken, and could not be restored.
    #[error("the backup was taken, but it cannot be restored as it is")]
    Verify(#[source] Box<VerifyError>),
    /// Nothing was restored.
    #[error("nothing was restored")]
    Restore(#[source] Box<RestoreError>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The name is taken, or looks like one that is.
    #[error("the name {0} is taken: by a user, perhaps in another case, or by the hub itself")]
    UserExists(UserName),
    /// No such account.
    #[error("there is no user {0}")]
    NoSuchUser(UserName),
    /// The account has dots.
    #[error("{user} has {count} dots")]
    HasDots { user: UserName, count: u64 },
    /// No such dot.
    #[error("there is no dot {0}")]
    NoSuchDot(String),
    /// The user has no access to take away.
    #[error("{user} has no access to {dot}")]
    NoAccess { user: UserName, dot: String },
    /// The owner's access is not given.
    #[error("{user} owns {dot} and may do everything already")]
    IsOwner { user: UserName, dot: String },
    /// The password will not do.
    #[error(transparent)]
    Password(#[from] InvalidPassword),
    /// No password could be read.
    #[error("cannot read the password from standard input")]
    ReadPassword(#[source] io::Error),
    /// Nothing can be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The program cannot run at all.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// Nobody reads the output.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Whether this user lacks a permission.
fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::PermissionDenied)
}

const OTHERS_STORE: &str = "give the database and the store that belong together, or an empty store; \
    if that hub no longer exists, delete the file `owner` in the store";

const REFUSED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const UNUSABLE: u8 = 3;

impl CliError {
    pub(super) fn runtime(source: io::Error) -> Self {
        Self::Runtime(source)
    }

    pub(super) fn connect(url: &str, source: DatabaseError) -> Self {
        let address = url::Url::parse(url).ok().and_then(|mut url| {
            url.set_password(None).ok()?;
            // A password may be there as well.
            url.set_query(None);
            Some(url.to_string())
        });
        let address = address.unwrap_or_else(|| "at that address".to_owned());
        Self::Connect { address, source }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UserExists(_) => {
                Some("`dothub user key NAME` creates a new API key for an account")
            }
            Self::NoSuchUser(_) => Some("`dothub user list` shows all users"),
            Self::HasDots { .. } => Some("give --with-dots to delete them as well"),
            Self::NoSuchDot(_) => Some("the first push to a dot creates it"),
            Self::Data(DataDirError::NoHub { .. }) => Some(
                "check --data and DOTHUB_DATA; `dothub serve` creates a hub, `dothub restore` creates one from a backup",
            ),
            Self::Connect {
                source: DatabaseError::NoHub,
                ..
            } => Some(
                "check --database-url and DOTHUB_DATABASE_URL; `dothub serve` creates a hub, `dothub restore` creates one from a backup",
            ),
            Self::Data(DataDirError::InUse { .. }) => {
                Some("stop it first; you can manage accounts while it runs")
            }
            Self::Backup(error) if matches!(**error, BackupError::Busy) => {
                Some("wait until it is done; a backup that was killed blocks others for 2 minutes")
            }
            Self::Collect(CollectError::OthersStore) => Some(OTHERS_STORE),
            Self::Repacking => {
                Some("wait until it is done; a repack that was killed blocks others for 2 minutes")
            }
            Self::Problems(_) => Some(
                "restore the packs from a backup, or `dothub check --repair` marks what is lost, so that the next push brings it again",
            ),
            Self::DamagedPacks(_) => Some("`dothub check` says what is lost"),
            Self::Lost(_) => Some("the manifest names them; restore them from an earlier backup"),
            Self::Verify(_) => Some(
                "free space if the disk is full; otherwise keep the earlier backups, and report this error to the project",
            ),
            Self::Restore(error) => match **error {
                RestoreError::NotEmpty | RestoreError::OtherSchema => {
                    Some("give a new folder, or an empty database and an empty store")
                }
                RestoreError::OthersStore => Some(OTHERS_STORE),
                RestoreError::Folder(FolderError::Newer(_)) => {
                    Some("restore it with that version or a newer one")
                }
                _ => None,
            },
            Self::NoFolder => {
                Some("give --data DIR, or both --database-url URL and --store-url URL")
            }
            Self::Connect {
                source: DatabaseError::Newer,
                ..
            }
            | Self::Data(DataDirError::Database {
                source: DatabaseError::Newer,
                ..
            }) => Some("run the newer dothub, or restore a backup that this version made"),
            Self::Listen { source, .. } => match source.kind() {
                ErrorKind::AddrInUse => {
                    Some("another program listens there; choose another address with --listen")
                }
                ErrorKind::PermissionDenied => {
                    Some("ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE")
                }
                _ => None,
            },
            Self::Data(error) if is_forbidden(error) => Some(
                "run it as the user who owns the folder, or as root; or choose a folder of your own with --data",
            ),
            _ => None,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::NoFolder => WRONG_USAGE,
            Self::Data(_)
            | Self::Connect { .. }
            | Self::Store(_)
            | Self::Tls(_)
            | Self::Collect(_)
            | Self::Backup(_)
            | Self::Repack(_)
            | Self::Check(_)
            | Self::Restore(_)
            | Self::Verify(_)
            | Self::Database(_)
            | Self::Listen { .. }
            | Self::Runtime(_)
            | Self::Output(_) => UNUSABLE,
            _ => REFUSED,
        }
    }

    /// Shows the error on standard error.
    pub(super) fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == ErrorKind::BrokenPipe
        {
            return ExitCode::from(UNUSABLE);
        }
        let mut text = format!("error: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            // Some say their cause themselves.
            let said = cause.to_string();
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            source = cause.source();
        }
        if let Some(hint) = self.hint() {
            text = format!("{text}\nhint: {hint}");
        }
        // Where standard error is closed, the exit code has to do.
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(self.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_user_is_told_apart_from_none() {
        let io = |kind| DataDirError::Io {
            verb: "look for",
            path: "/var/lib/dothub/hub.db".into(),
            source: io::Error::from(kind),
        };
        let hint = |kind| CliError::Data(io(kind)).hint();
        let forbidden = hint(ErrorKind::PermissionDenied);
        assert!(forbidden.is_some_and(|hint| hint.contains("the user who owns the folder")));
        assert_eq!(hint(ErrorKind::NotADirectory), None);
    }
}
