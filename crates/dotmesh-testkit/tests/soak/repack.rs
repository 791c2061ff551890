//! Repacks and garbage collections of the hub, which are killed or not.

use anyhow::{Result, ensure};

use crate::step::Strike;
use crate::world::{HUB_DATA, World};

impl World {
    /// Repacks and collects garbage on the hub, and checks its whole store afterwards. Odd rolls kill the repack.
    pub(crate) async fn repack(
        &mut self,
        node: usize,
        roll: u64,
        strikes: &[Strike],
    ) -> Result<()> {
        let repack = format!("dothub repack --after 0 --data {HUB_DATA}");
        let line = match roll % 2 {
            0 => repack,
            _ => format!("timeout -s KILL 0.{:03} {repack}", (roll >> 8) % 400),
        };
        let machine = self.hub.machine.clone();
        let output = self.struck(node, &machine, &line, strikes).await?;
        self.disarm();
        let done = output.status.success();
        self.report.operation("repack", done);
        self.report
            .say(&format!("[hub] {line} with {strikes:?} -> {done}"));
        // A repack that was killed blocks the next one for two minutes.
        let is_blocked = output.stderr.contains("is being repacked already");
        let may_fail = roll % 2 == 1 || !strikes.is_empty() || is_blocked;
        if !done && !may_fail {
            self.report.violation(&format!("a repack failed: {output}"));
        }
        let check = format!("dothub gc --data {HUB_DATA} && dothub check --data {HUB_DATA}");
        let checked = machine.run(&check).await;
        if !checked.status.success() {
            self.report
                .violation(&format!("the hub's store is damaged: {checked}"));
        }
        ensure!(checked.status.success(), "{checked}");
        Ok(())
    }
}
