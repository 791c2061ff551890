//! A port that the user chose: `web=8200`, `web:80=8200`.

use std::str::FromStr;

use dotmesh_api::node::WantedPort;

/// A chosen port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The service.
    pub service: String,
    /// The port in the container, if the user named it.
    pub target: Option<u16>,
    /// The port on this machine.
    pub port: u16,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not of the form SERVICE=PORT or SERVICE:PORT=PORT".to_owned();
        let (of, port) = text.rsplit_once('=').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0);
        let (service, target) = match of.rsplit_once(':') {
            Some((service, target)) => (service, Some(target.parse().map_err(|_| wrong())?)),
            None => (of, None),
        };
        if service.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            service: service.to_owned(),
            target,
            port: port.ok_or_else(wrong)?,
        })
    }
}

impl Choice {
    /// Whether it is about this port.
    pub(super) fn is_about(&self, port: &WantedPort) -> bool {
        port.service == self.service && self.target.is_none_or(|target| target == port.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_a_service_and_maybe_its_port() {
        let choice = |text: &str| text.parse::<Choice>();
        let web = choice("web=8200").expect("a choice");
        assert_eq!((web.target, web.port), (None, 8200));
        let web = choice("web:80=8200").expect("a choice");
        assert_eq!((web.service.as_str(), web.target), ("web", Some(80)));
        for wrong in ["web", "=80", "web=0", "web=99999", "web:x=80"] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }
}
