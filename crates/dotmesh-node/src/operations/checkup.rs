//! `dm doctor`: the node looks at its pool, at Docker, and at the hubs that it is asked about.

use std::time::Duration;

use dotmesh_api::node::{
    Checkup, DiskReport, HubLogin, HubReport, PluginReport, PoolReport, Report,
};
use dotmesh_api::{ErrorBody, ErrorCode, HubAddress, HubClient};
use futures::future::join_all;

use crate::error::NodeError;
use crate::node::Node;

/// A hub that takes longer counts as away.
const HUB_ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Looks at everything at once.
pub(crate) async fn checkup(node: &Node, request: Checkup) -> Report {
    let hubs = join_all(request.hubs.iter().map(|login| hub(node, login)));
    let (pool, docker, hubs) = tokio::join!(pool(node), node.docker.list(), hubs);
    let config = &node.config;
    Report {
        pool: pool.map_err(ErrorBody::from),
        docker: docker
            .map(|containers| containers.len() as u64)
            .map_err(|error| NodeError::from(error).into()),
        plugin: config
            .plugin_socket()
            .zip(config.driver())
            .map(|(socket, driver)| {
                let exists = socket.exists();
                PluginReport {
                    driver,
                    socket,
                    exists,
                }
            }),
        hubs,
    }
}

async fn pool(node: &Node) -> Result<PoolReport, NodeError> {
    let (room, space) = (node.pool.fit().await?, node.pool.space().await?);
    let config = &node.config;
    let image = || config.root.join("pool.img");
    Ok(PoolReport {
        place: config.pool.clone().unwrap_or_else(image),
        total: space.total,
        free: space.free,
        read_only: room.read_only,
        disk: room.disk.map(|disk| DiskReport {
            free: disk.free,
            reserve: disk.reserve,
        }),
    })
}

async fn hub(node: &Node, login: &HubLogin) -> HubReport {
    let away = |error: ErrorBody| HubReport {
        version: Err(error),
        refused: None,
        clock_ahead: None,
    };
    let address: HubAddress = match login.address.parse() {
        Ok(address) => address,
        Err(message) => return away(ErrorBody::new(ErrorCode::Invalid, message)),
    };
    let client = match HubClient::through(&node.network, address, login.account.clone()) {
        Ok(client) => client,
        Err(error) => return away(error.into()),
    };
    let checked = tokio::time::timeout(HUB_ANSWERS_WITHIN, client.check()).await;
    checked.unwrap_or_else(|_| {
        let within = HUB_ANSWERS_WITHIN.as_secs();
        let message = format!("{} did not answer within {within} s", client.address());
        away(ErrorBody::new(ErrorCode::Unreachable, message))
    })
}
