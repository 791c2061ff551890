//! What the Engine's errors mean.

use std::error::Error;

use super::EngineError;

/// What a failed request says of the Engine.
pub(super) fn failed(error: bollard::errors::Error) -> EngineError {
    match error {
        bollard::errors::Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            let going = message.contains("is marked for removal")
                || message.contains("removal of container")
                || message.contains("is already in progress");
            if status_code == 404 || status_code == 409 && going {
                EngineError::Gone
            } else {
                EngineError::Refused(message)
            }
        }
        other => EngineError::Unreachable(cause(&other)),
    }
}

/// Adds what to do if the Engine still holds the container's former process, which it never lets go of by itself.
pub(super) fn explained(error: EngineError) -> EngineError {
    match error {
        EngineError::Refused(why)
            if why.contains("task ") && why.contains("already exists")
                || why.contains("container with id exists") =>
        {
            EngineError::Refused(format!(
                "{why}. Docker was interrupted while it stopped or started this container. Restart Docker, and Dotmesh starts the container"
            ))
        }
        other => other,
    }
}

/// The innermost cause of an error. The others only say that a request has failed.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_docker_still_holds_needs_a_restart_of_docker() {
        let task = "task 47afeaddd2dd: already exists";
        let runc = "OCI runtime create failed: container with id exists: 47afeaddd2dd: unknown";
        for held in [task, runc] {
            let explained = explained(EngineError::Refused(held.to_owned())).to_string();
            assert!(explained.starts_with(held), "{explained}");
            assert!(explained.contains("Restart Docker"), "{explained}");
        }
        let other = EngineError::Refused("driver failed: port is already allocated".to_owned());
        assert_eq!(explained(other.clone()), other);
    }
}
