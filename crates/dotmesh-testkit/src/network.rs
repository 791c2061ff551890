//! One network per test: a switch in a network namespace of its own, with a cable to the host and
//! one to each machine. Machines reach each other and the host, and nothing beyond.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, bail};

use crate::host::{self, Namespaces};
use crate::machine::Machine;

const SWITCH: &str = "
    ip link set lo up
    ip link add switch type bridge
    ip link set switch up
    echo ready
    exec cat >/dev/null
";

/// Networks have the addresses 10.231.N.0/24, the host is 10.231.N.1, machines follow.
const NETWORK: [u8; 2] = [10, 231];

/// A network that machines are plugged into. Clones are the same network; it is gone with the last.
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
    /// Makes a network with no machines yet.
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

    /// Starts a machine with a running Docker engine that has the images of the example.
    pub async fn machine(&self, name: &str) -> anyhow::Result<Machine> {
        Machine::start_in(self.clone(), name).await
    }

    /// Starts a machine that has no Docker engine. It needs no images, and is there at once.
    pub async fn machine_without_docker(&self, name: &str) -> anyhow::Result<Machine> {
        Machine::boot(self.clone(), name).await
    }

    /// Where machines reach what the test itself serves. It can also be reached from the host.
    pub fn host_address(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(NETWORK[0], NETWORK[1], self.cables.number, last)
    }

    /// Connects a machine's network namespace, and returns its address.
    pub(crate) fn plug_in(&self, machine: &Namespaces) -> anyhow::Result<Ipv4Addr> {
        let port = self.cables.machines.fetch_add(1, Ordering::Relaxed);
        let address = self.address(port.checked_add(2).context("count machines")?);
        let (switch, machine) = (self.cables.switch.pid(), machine.pid());
        let in_switch = format!("nsenter --net --target {switch} ip link set port{port}");
        let in_machine = format!("nsenter --net --target {machine} ip");
        host::run_words(&format!(
            "ip link add port{port} netns {switch} type veth peer name eth0 netns {machine}"
        ))?;
        host::run_words(&format!("{in_switch} master switch up"))?;
        host::run_words(&format!("{in_machine} address add {address}/24 dev eth0"))?;
        host::run_words(&format!("{in_machine} link set eth0 up"))?;
        Ok(address)
    }
}

/// Plugs the host into the switch, and returns the number of the network. The name of the host's
/// network device is the claim to that number: the kernel gives it to one only, and takes it back
/// when the switch is gone.
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
