//! What a fork shares with the app, or has no copy of. Users read it before anything starts. Pure.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::document::{Document, Generation, unescaped};
use super::ports::{Published, published};

/// Something that a fork cannot move, or does not copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// The service uses a network or another namespace of the machine.
    MachineNamespace { service: String, what: String },
    /// The service shares a namespace with a container outside of the project.
    ForeignContainer { service: String, container: String },
    /// The network is not the project's.
    SharedNetwork { network: String },
    /// The service uses a device of the machine.
    Device { service: String, device: String },
    /// The address is left out, as two stacks cannot both have it.
    FixedAddress { place: String, address: String },
    /// A volume that is no part of a dot: the fork has an empty one of its own.
    EmptyVolume { volume: String },
    /// A volume that is not the project's, which both use.
    SharedVolume { volume: String },
    /// A volume that names a branch itself.
    PinnedVolume { volume: String },
    /// A folder outside of the project, which both use.
    SharedFolder { service: String, folder: String },
    /// Docker chooses a port at each start.
    PortRange { service: String, ports: String },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MachineNamespace { service, what } => write!(
                f,
                "service {service} uses the machine's {what}, so it can collide with the app's own"
            ),
            Self::ForeignContainer { service, container } => write!(
                f,
                "service {service} shares a namespace with container {container}, which is not forked"
            ),
            Self::SharedNetwork { network } => {
                write!(
                    f,
                    "network {network} is external: the fork and the app share it"
                )
            }
            Self::Device { service, device } => write!(
                f,
                "service {service} uses the device {device}: the fork and the app share it"
            ),
            Self::FixedAddress { place, address } => write!(
                f,
                "{place} has the fixed address {address}: the fork gets another one"
            ),
            Self::EmptyVolume { volume } => write!(
                f,
                "volume {volume} is not of driver dm: the fork begins with an empty one"
            ),
            Self::SharedVolume { volume } => {
                write!(
                    f,
                    "volume {volume} is external: the fork and the app share it"
                )
            }
            Self::PinnedVolume { volume } => write!(
                f,
                "volume {volume} names a branch: the fork and the app share it"
            ),
            Self::SharedFolder { service, folder } => write!(
                f,
                "service {service} writes to {folder}: the fork and the app share it"
            ),
            Self::PortRange { service, ports } => write!(
                f,
                "service {service} publishes a range of ports, {ports}: Docker chooses one at each start"
            ),
        }
    }
}

pub(super) fn of(document: &Document) -> Vec<Note> {
    let mut notes = Vec::new();
    for (name, service) in document.services() {
        of_service(document, name, service, &mut notes);
    }
    for (key, network) in document.section("networks") {
        let name = document.real_name(key, network);
        if is_external(network) {
            notes.push(Note::SharedNetwork {
                network: external_name(key, network),
            });
        }
        let fixed = network.pointer("/ipam/config").and_then(Value::as_array);
        for address in fixed.into_iter().flatten().filter_map(subnet) {
            notes.push(Note::FixedAddress {
                place: format!("network {name}"),
                address,
            });
        }
    }
    let used = used_volumes(document);
    for (key, volume) in document.section("volumes") {
        // Compose 1 prints volumes that no service uses, too.
        if document.generation == Generation::One && !used.contains(&key.as_str()) {
            continue;
        }
        if is_external(volume) {
            let volume = external_name(key, volume);
            notes.push(Note::SharedVolume { volume });
        } else if !document.is_ours(volume) {
            let volume = document.real_name(key, volume);
            notes.push(Note::EmptyVolume { volume });
        }
    }
    for one in document.dot_volumes().unwrap_or_default() {
        if one.volume.pinned.is_some() {
            let volume = one.volume.to_string();
            notes.push(Note::PinnedVolume { volume });
        }
    }
    notes.sort();
    notes.dedup();
    notes
}

fn of_service(document: &Document, name: &str, service: &Value, notes: &mut Vec<Note>) {
    for (key, what) in [
        ("network_mode", "network"),
        ("pid", "processes"),
        ("ipc", "IPC"),
    ] {
        let mode = service.get(key).and_then(Value::as_str).unwrap_or_default();
        let service = name.to_owned();
        if mode == "host" {
            let what = what.to_owned();
            notes.push(Note::MachineNamespace { service, what });
        } else if let Some(container) = mode.strip_prefix("container:")
            && !is_own_container(document, container)
        {
            let container = container.to_owned();
            notes.push(Note::ForeignContainer { service, container });
        }
    }
    let devices = service.get("devices").and_then(Value::as_array);
    for device in devices.into_iter().flatten() {
        let device = match device {
            Value::String(text) => text.split(':').next().map(str::to_owned),
            device => device
                .get("source")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        notes.extend(device.map(|device| Note::Device {
            service: name.to_owned(),
            device,
        }));
    }
    let networks = service.get("networks").and_then(Value::as_object);
    for network in networks.into_iter().flatten().map(|(_, network)| network) {
        for key in ADDRESSES {
            if let Some(address) = network.get(key).and_then(Value::as_str) {
                notes.push(Note::FixedAddress {
                    place: format!("service {name}"),
                    address: address.to_owned(),
                });
            }
        }
    }
    for port in published(service) {
        if let Published::Range { text, .. } = port {
            notes.push(Note::PortRange {
                service: name.to_owned(),
                ports: text,
            });
        }
    }
    for folder in written_folders(service) {
        if Path::new(&folder).is_absolute() && !Path::new(&folder).starts_with(&document.folder) {
            notes.push(Note::SharedFolder {
                service: name.to_owned(),
                folder,
            });
        }
    }
}

/// The keys of fixed addresses in a service's network.
pub(super) const ADDRESSES: [&str; 3] = ["ipv4_address", "ipv6_address", "mac_address"];

/// The folders of the machine that a service may write to.
fn written_folders(service: &Value) -> Vec<String> {
    let volumes = service.get("volumes").and_then(Value::as_array);
    let folders = volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| match volume {
            Value::String(text) => {
                let mut parts = text.split(':');
                let (source, _, mode) = (parts.next()?, parts.next()?, parts.next());
                let is_read_only = mode.is_some_and(|mode| mode.split(',').any(|one| one == "ro"));
                (!is_read_only).then(|| unescaped(source))
            }
            volume => {
                let text = |key: &str| volume.get(key).and_then(Value::as_str);
                let is_read_only = volume.get("read_only") == Some(&Value::Bool(true));
                let source = text("source").filter(|_| text("type") == Some("bind"))?;
                (!is_read_only).then(|| unescaped(source))
            }
        });
    folders.collect()
}

fn used_volumes(document: &Document) -> Vec<&str> {
    let mut used = Vec::new();
    for (_, service) in document.services() {
        let volumes = service.get("volumes").and_then(Value::as_array);
        for volume in volumes.into_iter().flatten() {
            used.extend(match volume {
                Value::String(text) => text.split(':').next(),
                volume => volume.get("source").and_then(Value::as_str),
            });
        }
    }
    used
}

/// Whether a service of the document has this container name.
pub(super) fn is_own_container(document: &Document, container: &str) -> bool {
    document.services().any(|(_, service)| {
        service.get("container_name").and_then(Value::as_str) == Some(container)
    })
}

/// Whether a volume or a network is not the project's.
pub(super) fn is_external(entry: &Value) -> bool {
    match entry.get("external") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(_) => true,
    }
}

fn external_name(key: &str, entry: &Value) -> String {
    let inner = entry.pointer("/external/name");
    let name = entry.get("name").or(inner).and_then(Value::as_str);
    name.map_or_else(|| key.to_owned(), unescaped)
}

fn subnet(config: &Value) -> Option<String> {
    let subnet = config.get("subnet")?.as_str()?;
    Some(subnet.to_owned())
}
