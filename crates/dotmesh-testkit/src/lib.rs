//! Machines for end-to-end tests: each has its own network, file-system mounts, processes and
//! Docker engine, and is gone without a trace when its handle is dropped or the test is killed.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let network = dotmesh_testkit::Network::start().await?;
//! let alice = network.machine("alice").await?;
//! let bob = network.machine("bob").await?;
//! let mut daemon = alice.spawn_daemon("dotmeshd", &[]).await?;
//! daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
//! alice.run("docker ps").await.success();
//! bob.run(&format!("ping -c 1 {}", alice.address())).await.success();
//! # Ok(())
//! # }
//! ```
//!
//! How it holds together: every machine hangs on one process, the first of its own process
//! namespace, which lives as long as a pipe from the test process is open. When that process ends,
//! the kernel ends all others of the machine, and with them go the mounts and the network.
//!
//! This crate knows nothing of Dotmesh itself.

mod daemon;
mod folder;
mod host;
mod machine;
mod network;
mod output;
mod wait;

pub use daemon::Daemon;
pub use machine::Machine;
pub use network::Network;
pub use output::{Output, Printed};
pub use wait::wait_for;
