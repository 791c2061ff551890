//! Machines for end-to-end tests. Each has its own network, mounts, processes and Docker Engine. It leaves no trace
//! when its handle is dropped or the test is killed.
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
//! Every machine depends on one process: the first of its process namespace. That process lives as long as a pipe from
//! the test process is open. When it ends, the kernel ends all other processes of the machine, and removes its mounts
//! and network.
//!
//! It also has what the tests of several crates need: checks of OpenAPI documents and of the examples in guides.
//!
//! This crate knows nothing of Dotmesh itself.

mod daemon;
mod engine;
mod folder;
pub mod guide;
mod host;
mod link;
mod machine;
mod network;
pub mod openapi;
mod output;
mod wait;

pub use daemon::Daemon;
pub use engine::{Engine, root};
pub use link::Link;
pub use machine::Machine;
pub use network::Network;
pub use output::{Output, Printed};
pub use wait::wait_for;
