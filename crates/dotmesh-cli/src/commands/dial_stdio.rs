//! `dm dial-stdio`: carries bytes between its standard input and output and the daemon's socket. `dm` runs it on the
//! machine that `DOTMESH_HOST` names.

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Connect standard input and output with the daemon's socket
#[derive(Debug, clap::Args)]
pub struct Args {}

/// The connection has ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ended {}

pub(super) async fn run(context: &Context, _: Args) -> Result<Ended> {
    let socket = context.environment.socket();
    let connection = UnixStream::connect(socket).await.map_err(|error| {
        let message = format!("cannot connect to {}", socket.display());
        CliError::new(Code::NodeUnreachable, message).caused_by(error)
    })?;
    let (mut from_node, mut to_node) = connection.into_split();
    let upwards = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to_node).await;
        let _ = to_node.shutdown().await;
        // The node ends the connection.
        std::future::pending::<()>().await;
    };
    let downwards = async {
        let mut stdout = tokio::io::stdout();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = tokio::io::AsyncReadExt::read(&mut from_node, &mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            stdout.write_all(&buffer[..count]).await?;
            // A response must not wait for the next one.
            stdout.flush().await?;
        }
    };
    let done: std::io::Result<()> = tokio::select! {
        () = upwards => Ok(()),
        done = downwards => done,
    };
    done.map_err(|error| CliError::io("the connection broke").caused_by(error))?;
    Ok(Ended {})
}

impl Human for Ended {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}
