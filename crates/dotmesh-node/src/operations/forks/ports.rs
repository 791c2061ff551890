//! Chooses the ports of forks: free ones, which stay the same as long as the name does.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

use dotmesh_api::node::WantedPort;
use dotmesh_model::{BranchName, DotName};
use dotmesh_pool::StoredPort;

use super::ForkError;

/// The ports to choose from: below those that Linux gives to outgoing connections, and those of Kubernetes.
const RANGE: Range<u16> = 20_000..30_000;

/// The ports that other forks have, whether they run or not.
pub(super) type Taken = BTreeMap<u16, (DotName, BranchName)>;

/// The ports for a fork. Ports that it had before stay, unless the user chose others.
pub(super) fn choose(
    fork: (&DotName, &BranchName),
    wanted: &[WantedPort],
    before: &[StoredPort],
    taken: &Taken,
    is_free: impl Fn(u16) -> bool,
) -> Result<Vec<StoredPort>, ForkError> {
    let mut chosen: Vec<StoredPort> = Vec::with_capacity(wanted.len());
    for one in wanted {
        let had = before.iter().find(|had| {
            had.service == one.service
                && had.target == one.target
                && had.protocol == one.protocol
                && had.published == one.published
        });
        let had = had.map(|had| had.port);
        let is_own = |port: u16| {
            !taken.contains_key(&port) && !chosen.iter().any(|chosen| chosen.port == port)
        };
        let port = match one.port.or(had.filter(|port| is_own(*port))) {
            Some(port) => {
                if let Some((dot, branch)) = taken.get(&port) {
                    let (dot, branch) = (dot.clone(), branch.clone());
                    return Err(ForkError::PortTaken { port, dot, branch });
                }
                port
            }
            None => {
                let mut all = from(first(fork, one));
                all.find(|port| is_own(*port) && is_free(*port))
                    .ok_or_else(|| ForkError::NoPort {
                        service: one.service.clone(),
                        target: one.target,
                    })?
            }
        };
        chosen.push(StoredPort {
            service: one.service.clone(),
            target: one.target,
            protocol: one.protocol.clone(),
            published: one.published,
            port,
        });
    }
    Ok(chosen)
}

/// The port to try first. It depends only on the names, so a fork that is made again mostly gets the same one.
fn first((dot, branch): (&DotName, &BranchName), one: &WantedPort) -> u16 {
    let text = format!(
        "{}@{branch} {}:{}/{} {}",
        dot.full(),
        one.service,
        one.target,
        one.protocol,
        one.published
    );
    // FNV-1a: it must stay the same in all versions.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let length = u32::from(RANGE.end - RANGE.start);
    RANGE.start + u16::try_from(hash % length).unwrap_or(0)
}

/// All ports, beginning with one of them.
fn from(first: u16) -> impl Iterator<Item = u16> {
    (first..RANGE.end).chain(RANGE.start..first)
}

/// Whether no program of this machine listens on the port.
pub(super) fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(service: &str, port: Option<u16>) -> WantedPort {
        WantedPort {
            service: service.to_owned(),
            target: 80,
            protocol: "tcp".to_owned(),
            published: 8100,
            port,
        }
    }

    #[test]
    fn ports_are_stable_free_and_never_shared() {
        let dot: DotName = "shop_app".parse().expect("a name");
        let [a, b]: [BranchName; 2] = ["a", "b"].map(|name| name.parse().expect("a name"));
        let any = |_| true;
        let of = |chosen: &[StoredPort]| chosen[0].port;
        let choose = |fork, wanted: &[WantedPort], before: &[StoredPort], taken: &Taken| {
            choose((&dot, fork), wanted, before, taken, any)
        };
        let none = Taken::new();
        let first = choose(&a, &[wanted("web", None)], &[], &none).expect("a port");
        assert!(RANGE.contains(&of(&first)));
        let again = choose(&a, &[wanted("web", None)], &[], &none).expect("a port");
        assert_eq!(first, again, "the same name gets the same port");
        let other = choose(&b, &[wanted("web", None)], &[], &none).expect("a port");
        assert_ne!(of(&first), of(&other));

        // The first choice is taken, or in use, or given to another service of the fork.
        let taken = Taken::from([(of(&first), (dot.clone(), b.clone()))]);
        let next = choose(&a, &[wanted("web", None)], &[], &taken).expect("a port");
        assert_eq!(of(&next), of(&first) + 1);
        let busy = super::choose((&dot, &a), &[wanted("web", None)], &[], &none, |port| {
            port != of(&first)
        });
        assert_eq!(of(&busy.expect("a port")), of(&first) + 1);
        let both = [wanted("db", Some(of(&first))), wanted("web", None)];
        let both = choose(&a, &both, &[], &none).expect("two ports");
        assert_eq!((both[0].port, both[1].port), (of(&first), of(&first) + 1));

        // What was chosen before stays, even while it is in use: by the fork itself.
        let before = [StoredPort {
            port: 8200,
            ..first[0].clone()
        }];
        let kept = super::choose((&dot, &a), &[wanted("web", None)], &before, &none, |_| {
            false
        });
        assert_eq!(of(&kept.expect("a port")), 8200);
        let refused = choose(&a, &[wanted("web", Some(of(&first)))], &[], &taken);
        assert!(matches!(refused, Err(ForkError::PortTaken { .. })));
    }
}
