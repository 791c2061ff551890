//! Converts the API's description of a container.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerSummaryStateEnum, HealthStatusEnum, Mount,
    RestartPolicyNameEnum, SystemVersion,
};

use super::processes::namespace_of;
use super::{About, Container, Health, Inspected, State};

/// The Engine's name and version. Podman tells its own among the components, beside that of the API.
pub(super) fn about(version: SystemVersion) -> About {
    let mut components = version.components.unwrap_or_default().into_iter();
    match components.find(|component| component.name.starts_with("Podman")) {
        Some(podman) => About {
            name: "Podman".to_owned(),
            version: podman.version,
        },
        None => About {
            name: "Docker".to_owned(),
            version: version.version.unwrap_or_default(),
        },
    }
}

pub(super) fn state(state: ContainerSummaryStateEnum) -> State {
    match state {
        // Its process runs until the stop is done.
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => State::Running,
        ContainerSummaryStateEnum::PAUSED => State::Paused,
        ContainerSummaryStateEnum::RESTARTING => State::Restarting,
        ContainerSummaryStateEnum::REMOVING => State::Removing,
        ContainerSummaryStateEnum::EXITED => State::Exited,
        ContainerSummaryStateEnum::DEAD => State::Dead,
        _ => State::Created,
    }
}

pub(super) fn inspected(mut container: Container, details: ContainerInspectResponse) -> Inspected {
    let host = details.host_config.unwrap_or_default();
    let config = details.config.unwrap_or_default();
    let state = details.state.unwrap_or_default();
    container.state = current_state(&state, container.state);
    if let Some(name) = details.name {
        container.name = name.trim_start_matches('/').to_owned();
    }
    let health = state.health.as_ref().and_then(|health| health.status);
    let policy = host.restart_policy.and_then(|policy| policy.name);
    let process = state.pid.filter(|pid| *pid > 0);
    Inspected {
        created: details
            .created
            .and_then(|time| time.to_string().parse().ok())
            .unwrap_or_default(),
        links: host.links.unwrap_or_default(),
        volumes_from: host.volumes_from.unwrap_or_default(),
        namespaces: [host.network_mode, host.ipc_mode, host.pid_mode]
            .into_iter()
            .flatten()
            .collect(),
        health: match health {
            Some(HealthStatusEnum::STARTING) => Some(Health::Starting),
            Some(HealthStatusEnum::HEALTHY) => Some(Health::Healthy),
            Some(HealthStatusEnum::UNHEALTHY) => Some(Health::Unhealthy),
            _ => None,
        },
        grace: match config.stop_timeout {
            None => Some(Duration::from_secs(10)),
            // A negative timeout means no limit.
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        },
        removed_when_stopped: host.auto_remove.unwrap_or(false),
        restarts_always: matches!(
            policy,
            Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED)
        ),
        restarts_on_failure: policy == Some(RestartPolicyNameEnum::ON_FAILURE),
        error: state.error.unwrap_or_default(),
        exit_code: state.exit_code.unwrap_or(0),
        started: state
            .started_at
            .and_then(|time| time.to_string().parse().ok())
            .unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        mount_namespace: process.and_then(|pid| namespace_of(&pid.to_string())),
        container,
    }
}

pub(super) fn current_state(state: &bollard::models::ContainerState, listed: State) -> State {
    use bollard::models::ContainerStateStatusEnum as Status;
    match state.status {
        Some(Status::CREATED) => State::Created,
        Some(Status::RUNNING | Status::STOPPING) => State::Running,
        Some(Status::PAUSED) => State::Paused,
        Some(Status::RESTARTING) => State::Restarting,
        Some(Status::REMOVING) => State::Removing,
        Some(Status::EXITED) => State::Exited,
        Some(Status::DEAD) => State::Dead,
        _ => listed,
    }
}

/// The paths of a container where an empty volume stays empty: `--mount` says so, or it shows a folder of the volume that
/// must exist already.
pub(super) fn places_without_copy(details: &ContainerInspectResponse) -> HashSet<PathBuf> {
    let host = details.host_config.as_ref();
    let mounts = host.and_then(|host| host.mounts.as_ref());
    let stays_empty = |mount: &&Mount| {
        let options = mount.volume_options.as_ref();
        options.is_some_and(|options| {
            let subpath = options.subpath.as_ref();
            options.no_copy.unwrap_or(false) || subpath.is_some_and(|path| !path.is_empty())
        })
    };
    let mounts = mounts.into_iter().flatten().filter(stays_empty);
    mounts
        .filter_map(|mount| mount.target.as_ref().map(PathBuf::from))
        .collect()
}

pub(super) fn is_going(found: &ContainerInspectResponse) -> bool {
    use bollard::models::ContainerStateStatusEnum as Status;
    let status = found.state.as_ref().and_then(|state| state.status);
    matches!(status, Some(Status::REMOVING | Status::DEAD))
}
