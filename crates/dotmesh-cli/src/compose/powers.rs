//! What an app may do on this machine. People read it before the code of others starts. Pure but for the places that
//! symbolic links lead to.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::document::{Document, unescaped};
use super::notes::is_external;
use super::ports::{Published, published};

/// What an app may do on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Powers {
    /// The images that it runs.
    pub images: Vec<String>,
    /// The folders that images are built from. Their commands run in containers.
    pub builds: Vec<String>,
    /// The files, folders, volumes and networks outside of its code that it reads or writes.
    pub outside: Vec<String>,
    /// What its containers may do beyond what containers usually may.
    pub privileges: Vec<String>,
    /// The ports that it asks for.
    pub ports: Vec<String>,
}

/// What a service may say without getting any power over the machine. Some have checks of their own below. Everything else is
/// named, so that what later versions of Compose add is named as well.
const HARMLESS: [&str; 69] = [
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_shares",
    "cpus",
    "cpuset",
    "depends_on",
    "deploy",
    "develop",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "network_mode",
    "networks",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "profiles",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "volumes_from",
    "working_dir",
];

/// What a build may say without getting any power over the machine.
const HARMLESS_BUILD: [&str; 14] = [
    "args",
    "cache_from",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "isolation",
    "labels",
    "no_cache",
    "platforms",
    "pull",
    "shm_size",
    "tags",
    "target",
    "ulimits",
];

impl Powers {
    /// What the app of a document may do, if its code is in the folder `code`.
    pub fn of(document: &Document, code: &Path) -> Self {
        let mut powers = Self::default();
        let place = Place { document, code };
        for (name, service) in document.services() {
            place.service(name, service, &mut powers);
        }
        for (key, volume) in document.section("volumes") {
            let name = document.real_name(key, volume);
            if is_external(volume) {
                powers.outside.push(format!("volume {name}"));
            }
            if !document.is_ours(volume)
                && let Some(options) = volume.get("driver_opts").filter(|options| is_said(options))
            {
                let device = options.get("device").and_then(Value::as_str);
                let device = device.map_or_else(|| shown(options), unescaped);
                powers
                    .outside
                    .push(format!("volume {name}, which is {device}"));
            }
        }
        for (key, network) in document.section("networks") {
            if is_external(network) {
                let name = document.real_name(key, network);
                powers.outside.push(format!("network {name}"));
            }
        }
        for section in ["configs", "secrets"] {
            for (key, entry) in document.section(section) {
                let file = entry.get("file").and_then(Value::as_str).map(unescaped);
                if let Some(outside) = file.and_then(|file| place.outside(&file)) {
                    powers
                        .outside
                        .push(format!("{} for {key}", outside.display()));
                }
            }
        }
        let lists = [
            &mut powers.images,
            &mut powers.builds,
            &mut powers.outside,
            &mut powers.privileges,
            &mut powers.ports,
        ];
        for list in lists {
            list.sort();
            list.dedup();
        }
        powers
    }

    /// One line for each kind, and none for what there is not.
    pub fn lines(&self) -> Vec<String> {
        let kinds = [
            ("images", &self.images),
            ("builds images from", &self.builds),
            ("ports", &self.ports),
            ("outside of its code", &self.outside),
            ("special rights", &self.privileges),
        ];
        let kinds = kinds.iter().filter(|(_, list)| !list.is_empty());
        kinds
            .map(|(kind, list)| format!("  {kind}: {}", list.join(", ")))
            .collect()
    }

    /// Whether it does more than apps usually do.
    pub fn are_unusual(&self) -> bool {
        !self.outside.is_empty() || !self.privileges.is_empty()
    }
}

/// Where the app is.
struct Place<'a> {
    document: &'a Document,
    code: &'a Path,
}

impl Place<'_> {
    fn service(&self, name: &str, service: &Value, powers: &mut Powers) {
        let text = |key: &str| service.get(key).and_then(Value::as_str).map(unescaped);
        powers.images.extend(text("image"));
        if let Some(build) = service.get("build") {
            self.build(name, build, powers);
        }
        for port in published(service) {
            powers.ports.push(match port {
                Published::One { published, .. } => published.to_string(),
                Published::Range { text, .. } => text,
            });
        }
        for source in bound(service) {
            if let Some(outside) = self.outside(&source) {
                powers
                    .outside
                    .push(format!("{} in {name}", outside.display()));
            }
        }
        for key in ["network_mode", "pid", "ipc"] {
            let mode = text(key).unwrap_or_default();
            if mode == "host" || mode.starts_with("container:") {
                powers.privileges.push(format!("{name} has {key} {mode}"));
            }
        }
        for entry in list(service, "volumes_from") {
            if entry.starts_with("container:") {
                powers
                    .outside
                    .push(format!("the volumes of {entry} in {name}"));
            }
        }
        for (key, value) in service.as_object().into_iter().flatten() {
            if !HARMLESS.contains(&key.as_str()) && is_said(value) {
                powers.privileges.push(match value {
                    Value::Bool(true) => format!("{name} is {key}"),
                    value => format!("{name} has {key} {}", shown(value)),
                });
            }
        }
    }

    fn build(&self, name: &str, build: &Value, powers: &mut Powers) {
        let context = match build {
            Value::String(context) => Some(context.as_str()),
            build => build.get("context").and_then(Value::as_str),
        };
        if let Some(context) = context.map(unescaped) {
            match self.outside(&context) {
                Some(_) => powers.outside.push(format!("{context}, to build {name}")),
                None => powers.builds.push(self.short(&context)),
            }
        }
        for (key, value) in build.as_object().into_iter().flatten() {
            if !HARMLESS_BUILD.contains(&key.as_str()) && is_said(value) {
                let value = shown(value);
                powers
                    .privileges
                    .push(format!("the build of {name} has {key} {value}"));
            }
        }
    }

    /// Where a path leads, if that is outside of the code. A symbolic link in the code may lead outside, too.
    fn outside(&self, path: &str) -> Option<PathBuf> {
        let path = self.document.folder.join(path);
        let mut real = path.clone();
        let mut rest = PathBuf::new();
        // What does not exist yet, Docker makes at that place.
        let real = loop {
            if let Ok(real) = real.canonicalize() {
                break match rest.as_os_str().is_empty() {
                    true => real,
                    false => real.join(&rest),
                };
            }
            let Some(name) = real.file_name().map(PathBuf::from) else {
                break path;
            };
            rest = match rest.as_os_str().is_empty() {
                true => name,
                false => name.join(&rest),
            };
            real.pop();
        };
        let code = self.code.canonicalize();
        let code = code.unwrap_or_else(|_| self.code.to_owned());
        (!real.starts_with(code)).then_some(real)
    }

    fn short(&self, path: &str) -> String {
        let short = Path::new(path).strip_prefix(self.code).ok();
        let short = short.map(|short| short.to_string_lossy().into_owned());
        match short.as_deref() {
            Some("") => ".".to_owned(),
            _ => short.unwrap_or_else(|| path.to_owned()),
        }
    }
}

/// The files and folders of the machine that a service mounts.
fn bound(service: &Value) -> Vec<String> {
    let volumes = service.get("volumes").and_then(Value::as_array);
    let sources = volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| match volume {
            Value::String(text) => {
                let source = unescaped(text.split(':').next()?);
                source.starts_with(['/', '.', '~']).then_some(source)
            }
            volume => {
                let text = |key: &str| volume.get(key).and_then(Value::as_str);
                // A named pipe, an image or a cluster's volume is no path of this machine.
                let source = text("source").filter(|_| text("type") == Some("bind"))?;
                Some(unescaped(source))
            }
        });
    sources.collect()
}

fn list<'a>(service: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let list = service.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a value says anything.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// A value as a person reads it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => unescaped(text),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => unescaped(&other.to_string()),
    }
}

#[cfg(test)]
mod tests;
