//! Makes a fork's configuration from the app's. Pure.
//!
//! Names that Docker must not see twice get the fork's: the project, containers, networks and volumes. Volumes of driver
//! `dm` are pinned to the fork's branch. Everything else stays as Compose resolved it.

use std::collections::BTreeMap;

use dotmesh_api::node::ForkPort;
use dotmesh_model::{BranchName, DotName};
use serde_json::{Map, Value, json};

use super::document::{Document, Generation, escaped, unescaped};
use super::notes::{ADDRESSES, is_external, is_own_container};
use super::ports::{self, Published, published};

/// What makes a fork.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Its Compose project.
    pub project: String,
    /// The dot.
    pub dot: DotName,
    /// Its branch.
    pub branch: BranchName,
    /// What fixed names get at their end.
    pub suffix: String,
    /// The project whose volumes have the dot's name without a fork. Commits record it.
    pub stem: String,
    /// Its ports.
    pub ports: Vec<ForkPort>,
    /// The images to use instead of a build, by service.
    pub images: BTreeMap<String, String>,
}

impl Document {
    /// The fork's configuration, as JSON, which all versions of Compose read as YAML.
    pub fn fork(&self, fork: &Fork) -> Result<Value, String> {
        let mut root = self.root.clone();
        // `-p` gives the name, and Compose 1 knows no such key.
        root.remove("name");
        if self.generation == Generation::Two {
            // It warns of the key.
            root.remove("version");
        }
        if let Some(Value::Object(services)) = root.get_mut("services") {
            for (name, service) in services {
                if let Value::Object(service) = service {
                    self.fork_service(name, service, fork);
                }
            }
        }
        if let Some(Value::Object(networks)) = root.get_mut("networks") {
            for (key, network) in networks {
                self.fork_network(key, network, fork);
            }
        }
        for one in self.dot_volumes()? {
            if one.volume.pinned.is_none() {
                let name = one.pinned(&fork.dot, &fork.branch).to_string();
                let volume = root
                    .get_mut("volumes")
                    .and_then(|all| all.get_mut(&one.key));
                set(volume, "name", escaped(&name).into());
            }
        }
        if let Some(Value::Object(volumes)) = root.get_mut("volumes") {
            for (key, volume) in volumes {
                if !is_external(volume) && !self.is_ours(volume) {
                    self.rename(key, volume, fork);
                }
            }
        }
        for section in ["secrets", "configs"] {
            if let Some(Value::Object(entries)) = root.get_mut(section) {
                for (key, entry) in entries {
                    if !is_external(entry) && entry.get("name").is_some() {
                        self.rename(key, entry, fork);
                    }
                }
            }
        }
        Ok(Value::Object(root))
    }

    /// Gives a network or a volume of the project a name of the fork's.
    fn rename(&self, key: &str, entry: &mut Value, fork: &Fork) {
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            // Compose derives it from the project.
            return;
        };
        let new = if name == escaped(&format!("{}_{key}", self.project)) {
            format!("{}_{key}", fork.project)
        } else {
            format!("{name}-{}", fork.suffix)
        };
        set(Some(entry), "name", new.into());
    }

    fn fork_network(&self, key: &str, network: &mut Value, fork: &Fork) {
        if is_external(network) {
            return;
        }
        self.rename(key, network, fork);
        // Two networks cannot have the same addresses, nor the same bridge.
        if let Some(ipam) = network.get_mut("ipam").and_then(Value::as_object_mut) {
            ipam.remove("config");
        }
        if let Some(options) = network
            .get_mut("driver_opts")
            .and_then(Value::as_object_mut)
        {
            options.remove("com.docker.network.bridge.name");
        }
    }

    fn fork_service(&self, name: &str, service: &mut Map<String, Value>, fork: &Fork) {
        // The services of inactive profiles are left out already.
        service.remove("profiles");
        label(service, "dotmesh.fork", &fork.label());
        label(service, "dotmesh.project", &fork.stem);
        if let Some(Value::String(container)) = service.get("container_name").cloned() {
            let new = format!("{container}-{}", fork.suffix);
            service.insert("container_name".to_owned(), new.into());
            // Other services may call it by that name.
            add_alias(service, &container);
        }
        for key in ["network_mode", "ipc", "pid"] {
            if let Some(Value::String(mode)) = service.get_mut(key)
                && let Some(container) = mode.strip_prefix("container:")
                && is_own_container(self, container)
            {
                *mode = format!("{mode}-{}", fork.suffix);
            }
        }
        if let Some(Value::Object(networks)) = service.get_mut("networks") {
            for network in networks.values_mut().filter_map(Value::as_object_mut) {
                for key in ADDRESSES {
                    network.remove(key);
                }
                network.remove("link_local_ips");
            }
        }
        move_ports(name, service, &fork.ports);
        if let Some(image) = fork.images.get(name) {
            service.remove("build");
            service.insert("image".to_owned(), escaped(image).into());
        } else if service.contains_key("build") && service.contains_key("image") {
            // The app's own image keeps its name.
            let separator = match self.generation {
                Generation::One => '_',
                Generation::Two => '-',
            };
            let image = format!("{}{separator}{name}", fork.project);
            service.insert("image".to_owned(), image.into());
        }
    }
}

impl Fork {
    /// The value of the label `dotmesh.fork`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.dot.full(), self.branch.spelling())
    }
}

fn set(entry: Option<&mut Value>, key: &str, value: Value) {
    match entry {
        Some(Value::Object(entry)) => {
            entry.insert(key.to_owned(), value);
        }
        Some(entry) => *entry = json!({ key: value }),
        None => {}
    }
}

fn label(service: &mut Map<String, Value>, key: &str, value: &str) {
    let value = escaped(value);
    match service.get_mut("labels") {
        Some(Value::Array(labels)) => labels.push(format!("{key}={value}").into()),
        Some(Value::Object(labels)) => {
            labels.insert(key.to_owned(), value.into());
        }
        _ => {
            service.insert("labels".to_owned(), json!({ key: value }));
        }
    }
}

/// Makes a service answer to another name in its networks.
fn add_alias(service: &mut Map<String, Value>, alias: &str) {
    if service.contains_key("network_mode") {
        return;
    }
    let networks = service
        .entry("networks")
        .or_insert_with(|| json!({ "default": {} }));
    let Value::Object(networks) = networks else {
        return;
    };
    for network in networks.values_mut() {
        if network.is_null() {
            *network = json!({});
        }
        if let Value::Object(network) = network {
            let aliases = network.entry("aliases").or_insert_with(|| json!([]));
            if let Value::Array(aliases) = aliases
                && !aliases.iter().any(|one| one == alias)
            {
                aliases.push(alias.into());
            }
        }
    }
}

fn move_ports(name: &str, service: &mut Map<String, Value>, chosen: &[ForkPort]) {
    let all = published(&Value::Object(service.clone()));
    let Some(Value::Array(entries)) = service.get_mut("ports") else {
        return;
    };
    for port in all {
        match port {
            Published::One {
                target,
                published,
                protocol,
                place,
            } => {
                let is = |port: &&ForkPort| {
                    port.service == name
                        && port.target == target
                        && port.published == published
                        && port.protocol == protocol
                };
                if let Some(entry) = entries.get_mut(place) {
                    let chosen = chosen.iter().find(is).map(|port| port.port);
                    ports::replace(entry, chosen);
                }
            }
            Published::Range { place, .. } => {
                if let Some(entry) = entries.get_mut(place) {
                    ports::replace(entry, None);
                }
            }
        }
    }
}

/// A branch's name as a part of names of Docker and Compose: `feature-login` for `feature/login`.
pub fn slug(branch: &BranchName) -> String {
    let text = branch.as_str().to_lowercase();
    let allowed = |c: char| match c.is_ascii_alphanumeric() || c == '_' {
        true => c,
        false => '-',
    };
    let text: String = text.chars().map(allowed).collect();
    let text = text.trim_matches(['-', '_']);
    match text.is_empty() {
        true => "fork".to_owned(),
        false => text.to_owned(),
    }
}

/// The fork's project. `stem` is the app's. With `hash`, it is different for names that differ only in signs or case.
pub fn project(stem: &str, branch: &BranchName, hash: bool) -> String {
    let stem = stem.to_lowercase();
    let stem = stem.trim_start_matches(['-', '_']);
    let plain = format!("{stem}-{}", slug(branch));
    if !hash {
        return plain;
    }
    let sum = branch.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{plain}-{:04x}", sum & 0xffff)
}

/// The app's project, from a dot and its name without the project's: `shop` from `shop_app` and `app`.
pub fn stem(dot: &DotName, short: &str) -> String {
    let name = dot.name();
    let stem = name
        .strip_suffix(short)
        .and_then(|stem| stem.strip_suffix('_'));
    let stem = stem.filter(|stem| !stem.is_empty()).unwrap_or(name);
    unescaped(stem)
}
