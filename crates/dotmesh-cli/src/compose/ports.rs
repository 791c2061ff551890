//! The published ports of a service, in all forms in which versions of Compose print them. Pure.

use serde_json::Value;

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// One port.
    One {
        /// The port in the container.
        target: u16,
        /// The port on the machine.
        published: u16,
        /// `tcp`, `udp` or `sctp`.
        protocol: String,
        /// Its place in the list.
        place: usize,
    },
    /// A range of ports, from which Docker chooses at each start.
    Range {
        /// As it is written.
        text: String,
        /// Its place in the list.
        place: usize,
    },
}

/// The published ports of a service. Ports that Docker chooses are left out.
pub fn published(service: &Value) -> Vec<Published> {
    let ports = service.get("ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten().enumerate();
    let read = ports.filter_map(|(place, port)| match port {
        Value::Object(port) => {
            let text = |key: &str| match port.get(key)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            let published = text("published").filter(|text| !text.is_empty())?;
            let protocol = text("protocol").unwrap_or_else(|| "tcp".to_owned());
            one(place, &text("target")?, &published, &protocol)
        }
        Value::String(text) => {
            let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
            let (address, target) = rest.rsplit_once(':')?;
            let published = address.rsplit(':').next().unwrap_or(address);
            (!published.is_empty()).then_some(())?;
            one(place, target, published, protocol)
        }
        _ => None,
    });
    read.collect()
}

fn one(place: usize, target: &str, published: &str, protocol: &str) -> Option<Published> {
    if published == "0" {
        return None;
    }
    Some(match (target.parse(), published.parse()) {
        (Ok(target), Ok(published)) => Published::One {
            target,
            published,
            protocol: protocol.to_owned(),
            place,
        },
        _ => Published::Range {
            text: format!("{published}:{target}"),
            place,
        },
    })
}

/// Replaces a published port in its entry of the list. `None` lets Docker choose one.
pub fn replace(entry: &mut Value, port: Option<u16>) {
    match entry {
        Value::Object(object) => match port {
            Some(port) => {
                // Each version takes the type that it prints.
                let new = match object.get("published") {
                    Some(Value::Number(_)) => Value::from(port),
                    _ => Value::from(port.to_string()),
                };
                object.insert("published".to_owned(), new);
            }
            None => {
                object.remove("published");
            }
        },
        Value::String(text) => {
            let Some((address, target)) = text.rsplit_once(':') else {
                return;
            };
            let host = address.rsplit_once(':').map(|(host, _)| host);
            // An IPv6 address needs brackets, which Compose 1 does not print.
            let host = match host {
                Some(host) if host.contains(':') && !host.starts_with('[') => {
                    format!("[{host}]:")
                }
                Some(host) => format!("{host}:"),
                None => String::new(),
            };
            *text = match port {
                Some(port) => format!("{host}{port}:{target}"),
                None if host.is_empty() => target.to_owned(),
                None => format!("{host}:{target}"),
            };
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn moved(entry: Value) -> Value {
        let service = json!({ "ports": [entry.clone()] });
        let mut entry = entry;
        for port in published(&service) {
            match port {
                Published::One { .. } => replace(&mut entry, Some(23_456)),
                Published::Range { .. } => replace(&mut entry, None),
            }
        }
        entry
    }

    #[test]
    fn all_forms_of_ports_are_moved() {
        assert_eq!(moved(json!("8100:80")), json!("23456:80"));
        assert_eq!(
            moved(json!("127.0.0.1:9000:90/udp")),
            json!("127.0.0.1:23456:90/udp")
        );
        assert_eq!(moved(json!("::1:7000:70/tcp")), json!("[::1]:23456:70/tcp"));
        assert_eq!(moved(json!("8000-8010:80")), json!("80"));
        assert_eq!(moved(json!("80")), json!("80"));
        assert_eq!(
            moved(json!({ "target": 80, "published": 8100 })),
            json!({ "target": 80, "published": 23_456 })
        );
        assert_eq!(
            moved(json!({ "target": 80, "published": "8100", "protocol": "tcp" })),
            json!({ "target": 80, "published": "23456", "protocol": "tcp" })
        );
        assert_eq!(
            moved(json!({ "target": 80, "published": "8000-8010" })),
            json!({ "target": 80 })
        );
        assert_eq!(moved(json!({ "target": 5555 })), json!({ "target": 5555 }));
    }
}
