//! `dm doctor`: the node looks at its pool, at Docker, and at the hubs that it is asked about.

use std::time::Duration;

use dotmesh_api::node::{
    Checkup, DiskReport, EngineReport, HubLogin, HubReport, PluginReport, PoolReport, Report,
};
use dotmesh_api::{ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_model::VolumeName;
use futures::future::join_all;

use crate::error::NodeError;
use crate::node::Node;

/// A hub that takes longer counts as away.
const HUB_ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Looks at everything at once.
pub(crate) async fn checkup(node: &Node, request: Checkup) -> Report {
    let hubs = join_all(request.hubs.iter().map(|login| hub(node, login)));
    let (pool, docker, engine, hubs) =
        tokio::join!(pool(node), node.docker.list(), engine(node), hubs);
    let config = &node.config;
    Report {
        pool: pool.map_err(ErrorBody::from),
        docker: docker
            .map(|containers| containers.len() as u64)
            .map_err(|error| NodeError::from(error).into()),
        engine,
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

/// Which Engine it is, and which of its volumes look like dots.
async fn engine(node: &Node) -> Option<EngineReport> {
    let about = node.docker.about().await.ok()?;
    let dots = node.registry.dots().await.unwrap_or_default();
    let mut local_volumes = node.docker.local_volumes().await.unwrap_or_default();
    local_volumes.retain(|volume| {
        let known = |volume: VolumeName| dots.iter().any(|dot| dot.name == volume.dot);
        match volume.parse() {
            // Podman makes a local volume if the driver is named as in 'docker run --volume-driver dm'.
            Ok(_) if about.is_podman() && volume.contains('.') => true,
            parsed => parsed.is_ok_and(known),
        }
    });
    local_volumes.sort();
    Some(EngineReport {
        name: about.name,
        version: about.version,
        id: node.docker.id().await.unwrap_or_default(),
        local_volumes,
    })
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
