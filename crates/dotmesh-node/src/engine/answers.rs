//! Reads what an Engine says of containers, also in words that Docker's API does not have.
//!
//! Podman says `stopped` of a container whose process has ended, until its own clean-up has run. The client refuses a whole
//! answer because of one such word.

use std::str::FromStr as _;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, HealthStatusEnum,
};
use bollard::query_parameters::ListContainersOptions;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Lists containers.
pub(crate) async fn containers(
    client: &Docker,
    options: Option<ListContainersOptions>,
) -> Result<Vec<ContainerSummary>, Error> {
    translated(client.list_containers(options).await, |answer| {
        for container in answer.as_array_mut().into_iter().flatten() {
            translate_state(container.get_mut("State"));
        }
    })
}

/// Inspects a container.
pub(crate) async fn container(
    client: &Docker,
    id: &str,
) -> Result<ContainerInspectResponse, Error> {
    translated(client.inspect_container(id, None).await, |answer| {
        translate_state(answer.pointer_mut("/State/Status"));
        translate_health(answer.pointer_mut("/State/Health/Status"));
    })
}

/// Reads an answer again that the client could not read, in Docker's words.
fn translated<T: DeserializeOwned>(
    answer: Result<T, Error>,
    translate: impl FnOnce(&mut Value),
) -> Result<T, Error> {
    let Err(Error::JsonDataError { contents, .. }) = &answer else {
        return answer;
    };
    let Ok(mut value) = serde_json::from_str(contents) else {
        return answer;
    };
    translate(&mut value);
    serde_json::from_value(value).or(answer)
}

fn translate_state(state: Option<&mut Value>) {
    replace(state, |word| match word {
        "stopped" => Some("exited"),
        "configured" | "initialized" => Some("created"),
        word if ContainerSummaryStateEnum::from_str(word).is_ok() => None,
        _ => Some(""),
    });
}

fn translate_health(health: Option<&mut Value>) {
    replace(health, |word| match HealthStatusEnum::from_str(word) {
        Ok(_) => None,
        Err(_) => Some("none"),
    });
}

fn replace(value: Option<&mut Value>, word: impl FnOnce(&str) -> Option<&'static str>) {
    if let Some(value) = value
        && let Some(word) = value.as_str().and_then(word)
    {
        *value = word.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_dockers_words() {
        for (podman, docker) in [
            ("stopped", "exited"),
            ("initialized", "created"),
            ("running", "running"),
            ("stopping", "stopping"),
            ("unheard-of", ""),
        ] {
            let mut value = Value::from(podman);
            translate_state(Some(&mut value));
            assert_eq!(value, docker);
        }
        let mut value = Value::from("stopped");
        translate_health(Some(&mut value));
        assert_eq!(value, "none");
    }
}
