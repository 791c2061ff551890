//! The network of a test: a bridge in its own network namespace, with a link to the host and one to each machine. The
//! machines reach each other and the host, and nothing else.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, bail};

use crate::engine::Engine;
use crate::host::{self, Namespaces};
use crate::link::{Cable, Link};
use crate::machine::Machine;

const SWITCH: &str = "
    ip link set lo up
    ip link add switch type bridge
    ip link set switch up
    echo ready
    exec cat >/dev/null
";

/// Network N has the addresses 10.231.N.0/24. The host is 10.231.N.1, and the machines follow.
const NETWORK: [u8; 2] = [10, 231];

/// A network of machines. Clones are handles to the same network. It is removed with the last of them.
#[derive(Clone, Debug)]
pub struct Network {
    cables: Arc<Cables>,
}

#[derive(Debug)]
struct Cables {
    switch: Namespaces,
    number: u8,
    machines: AtomicU8,
}

impl Network {
    /// Makes a network without machines.
    pub async fn start() -> anyhow::Result<Network> {
        host::require_root()?;
        tokio::task::spawn_blocking(Self::start_now).await?
    }

    fn start_now() -> anyhow::Result<Network> {
        let switch = Namespaces::start(&["--net"], SWITCH, &[]).context("make a network")?;
        let number = plug_in_host(&switch)?;
        let cables = Cables {
            switch,
            number,
            machines: AtomicU8::new(0),
        };
        Ok(Network {
            cables: Arc::new(cables),
        })
    }

    /// Starts a machine with a running Engine that has the images of the example.
    pub async fn machine(&self, name: &str) -> anyhow::Result<Machine> {
        self.machine_with(Engine::chosen()?, name).await
    }

    /// The same with a certain Engine.
    pub async fn machine_with(&self, engine: Engine, name: &str) -> anyhow::Result<Machine> {
        Machine::start_in(self.clone(), engine, name).await
    }

    /// Starts a machine without a Docker Engine. It needs no images, so it starts quickly.
    pub async fn machine_without_docker(&self, name: &str) -> anyhow::Result<Machine> {
        Machine::boot(self.clone(), Engine::chosen()?, name, None).await
    }

    /// The same, behind a cable of a certain speed.
    pub async fn distant_machine(&self, name: &str, link: Link) -> anyhow::Result<Machine> {
        Machine::boot(self.clone(), Engine::chosen()?, name, Some(link)).await
    }

    /// The address at which machines reach servers of the test itself. The host can use it too.
    pub fn host_address(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(NETWORK[0], NETWORK[1], self.cables.number, last)
    }

    /// Connects a machine's network namespace, and returns the machine's address, and the cable if its speed is given.
    pub(crate) fn plug_in(
        &self,
        namespaces: &Namespaces,
        link: Option<Link>,
    ) -> anyhow::Result<(Ipv4Addr, Option<Cable>)> {
        let port = self.cables.machines.fetch_add(1, Ordering::Relaxed);
        let address = self.address(port.checked_add(2).context("count machines")?);
        let (switch, machine) = (self.cables.switch.pid(), namespaces.pid());
        let in_switch = format!("nsenter --net --target {switch} ip link set port{port}");
        let in_machine = format!("nsenter --net --target {machine} ip");
        let cable = match link {
            Some(link) => {
                let port = format!("port{port}");
                let ends = [(&self.cables.switch, port.as_str()), (namespaces, "eth0")];
                Some(Cable::plug_in(ends, link).context("plug in a cable")?)
            }
            None => {
                host::run_words(&format!(
                    "ip link add port{port} netns {switch} type veth peer name eth0 netns {machine}"
                ))?;
                None
            }
        };
        host::run_words(&format!("{in_switch} master switch up"))?;
        host::run_words(&format!("{in_machine} address add {address}/24 dev eth0"))?;
        host::run_words(&format!("{in_machine} link set eth0 up"))?;
        Ok((address, cable))
    }
}

/// Connects the host to the bridge, and returns the number of the network. The name of the host's network device
/// reserves this number: the kernel allows the name only once. It is free again when the bridge is gone.
fn plug_in_host(switch: &Namespaces) -> anyhow::Result<u8> {
    let switch = switch.pid();
    let [first, second] = NETWORK;
    for number in 0..=u8::MAX {
        let device = format!("dmtest{number}");
        let in_use = host::run_words(&format!(
            "ip route show root {first}.{second}.{number}.0/24"
        ))?;
        if !in_use.trim().is_empty() {
            continue;
        }
        let claim = format!("ip link add {device} type veth peer name host netns {switch}");
        if let Err(refused) = host::run_words(&claim) {
            if format!("{refused:#}").contains("File exists") {
                continue;
            }
            return Err(refused);
        }
        host::run_words(&format!(
            "nsenter --net --target {switch} ip link set host master switch up"
        ))?;
        host::run_words(&format!(
            "ip address add {first}.{second}.{number}.1/24 dev {device}"
        ))?;
        host::run_words(&format!("ip link set {device} up"))?;
        return Ok(number);
    }
    bail!("all test networks {first}.{second}.0.0/16 are in use")
}
