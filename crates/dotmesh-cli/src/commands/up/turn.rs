//! Lets one `dm up` at a time start a fork, so that the commands of `after-fork` run once.
//!
//! The turn is a socket with a name in memory. It leaves no file, belongs to all users of the machine, and ends with its
//! process, however that ends.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use dotmesh_model::{BranchName, DotName};

use super::INTERVAL;
use crate::context::Context;
use crate::error::{CliError, Result};

/// The right to start a fork.
pub(super) struct Turn {
    _socket: UnixListener,
}

impl Turn {
    /// Waits until no other process has the turn.
    pub(super) async fn take(context: &Context, dot: &DotName, fork: &BranchName) -> Result<Self> {
        let failed = |error: std::io::Error| {
            CliError::io("cannot see who else starts this fork").caused_by(error)
        };
        // A name in memory has at most 107 bytes.
        let mut hasher = DefaultHasher::new();
        let node = context.environment.node()?.to_string();
        (node, dot.full(), fork.as_str()).hash(&mut hasher);
        let name = format!("dotmesh-up-{:016x}", hasher.finish());
        let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
        let mut is_told = false;
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(socket) => return Ok(Self { _socket: socket }),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(error)),
            }
            if !is_told {
                context.ui.status(&format!(
                    "Another 'dm up' starts fork {fork}. Waiting for it to end"
                ));
                is_told = true;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
