//! Injects faults, and ends them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Machine, Output};
use tokio::time::{sleep, timeout};

use crate::step::{Fault, Place, Strike, Way};
use crate::world::{COMES_BACK, SOON, World};

/// Fills a disk to the last block.
const FILL: &str = "free=$(df --output=avail -B1 /var/lib/dotmesh | tail -n 1); \
    [ $free -lt 67108864 ] || fallocate -l $((free - 67108864)) /var/lib/dotmesh/filler; \
    dd if=/dev/zero of=/var/lib/dotmesh/filler.rest bs=1M conv=fsync 2>/dev/null || true";
const MAKE_ROOM: &str = "rm -f /var/lib/dotmesh/filler /var/lib/dotmesh/filler.rest";

impl World {
    /// Runs a line on a machine during faults of a node and of the hub. Returns when all faults are over.
    pub(crate) async fn struck(
        &mut self,
        node: usize,
        machine: &Machine,
        line: &str,
        strikes: &[Strike],
    ) -> Result<Output> {
        let operation = timeout(COMES_BACK * 2, machine.run(line));
        let (output, struck) = tokio::join!(operation, self.strike(node, strikes));
        struck?;
        output.with_context(|| format!("`{line}` does not end"))
    }

    async fn strike(&mut self, node: usize, strikes: &[Strike]) -> Result<()> {
        for strike in strikes {
            sleep(strike.after).await;
            self.strike_once(node, strike)
                .await
                .with_context(|| format!("{strike:?}"))?;
        }
        Ok(())
    }

    async fn strike_once(&mut self, node: usize, strike: &Strike) -> Result<()> {
        self.report.fault(strike.fault);
        let machine = self.nodes[node].machine.clone();
        match strike.fault {
            Fault::Kill(Place::Daemon) => {
                self.nodes[node].daemon.kill9().await?;
                sleep(strike.during).await;
                self.nodes[node].start_again().await
            }
            Fault::Kill(Place::Docker) => {
                machine.kill9_docker().await?;
                self.nodes[node].docker_runs = false;
                sleep(strike.during).await;
                self.nodes[node].start_again().await
            }
            Fault::Kill(Place::Hub) => {
                self.hub.server.kill9().await?;
                sleep(strike.during).await;
                self.hub.start_again().await
            }
            Fault::PullCable => {
                run(&machine, "ip link set eth0 down").await?;
                sleep(strike.during).await;
                run(&machine, "ip link set eth0 up").await
            }
            Fault::CutConnections => {
                self.proxy.cut(true);
                sleep(strike.during).await;
                self.proxy.cut(false);
                Ok(())
            }
            Fault::FlipOnTheWay(way) => {
                let roll = strike.during.as_micros() ^ (strike.after.as_micros() << 16);
                self.proxy.arm(way, u64::try_from(roll)?);
                Ok(())
            }
            Fault::FillHubDisk => {
                let hub = self.hub.machine.clone();
                run(&hub, FILL).await?;
                sleep(strike.during * 3).await;
                run(&hub, MAKE_ROOM).await
            }
            Fault::FillNodeDisk => {
                run(&machine, FILL).await?;
                sleep(strike.during * 3).await;
                run(&machine, MAKE_ROOM).await
            }
        }
    }

    /// Stops the flipping of bits in transit, and counts the flipped bits.
    pub(crate) fn disarm(&mut self) {
        for (way, ended) in [
            (Way::ToHub, "in a pack on its way to the hub"),
            (Way::FromHub, "in a pack on its way from the hub"),
        ] {
            for _ in 0..self.proxy.disarm(way) {
                self.report.flip(ended);
            }
        }
    }
}

async fn run(machine: &Machine, line: &str) -> Result<()> {
    let output = timeout(SOON, machine.run(line))
        .await
        .context(line.to_owned())?;
    ensure!(output.status.success(), "{output}");
    Ok(())
}

/// Flips one bit of a file. A second call restores it.
pub(crate) fn flip(file: &Path, bit: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8)?;
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8)?;
    Ok(file.sync_all()?)
}

/// The offset in a disk image of a block that begins with these bytes.
pub(crate) fn find_block(image: &Path, beginning: &[u8]) -> Result<u64> {
    const BLOCK: usize = 4096;
    let mut file = File::open(image)?;
    let mut buffer = vec![0; 256 * BLOCK];
    let mut at = 0;
    // Skip holes, because the image is sparse.
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data))?;
        at = data;
        while at < end {
            file.seek(SeekFrom::Start(at))?;
            let length = file.read(&mut buffer)?;
            ensure!(length > 0, "the image ends before its data does");
            for (number, block) in buffer[..length].chunks(BLOCK).enumerate() {
                if block.starts_with(beginning) {
                    return Ok(at + u64::try_from(number * BLOCK)?);
                }
            }
            at += u64::try_from(length)?;
        }
    }
    anyhow::bail!("the block is not in {}", image.display())
}

/// Drops a file from the page cache, so the next read comes from the disk.
pub(crate) fn forget_cached(file: &Path) -> Result<()> {
    let file = File::open(file)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}
