//! The steps of a soak, one after the other. All of them follow from the seed.

use std::time::Duration;

use crate::dice::Dice;

/// The operations of users. `roll` chooses among the branches or commits that exist at that step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Some runs of `dm commit`.
    Commit { times: u64 },
    /// `dm checkout -b NEW`, which keeps uncommitted changes.
    Branch,
    /// `dm checkout -b NEW COMMIT`.
    BranchAt { roll: u64 },
    /// `dm checkout BRANCH`.
    Checkout { roll: u64 },
    /// `dm reset --hard COMMIT`.
    Reset { roll: u64 },
    /// `dm push hub app` of the current branch.
    Push,
    /// `dm pull hub app BRANCH` with a branch of the other node.
    Pull { roll: u64 },
    /// Pushes everything, then `dm dot delete` and `dm clone`.
    DeleteAndClone,
    /// Deletes a branch on the hub.
    DeleteOnHub { roll: u64 },
    /// Makes a dot, pushes it, deletes it on the node and on the hub, and restores it on the hub.
    Throwaway { roll: u64 },
    /// A repack, a garbage collection and a check of the hub's store.
    Repack { roll: u64 },
    /// A push, a flipped bit in its pack on the hub, and a pull by the other node.
    FlipOnHub { roll: u64 },
    /// A commit, a flipped bit in the commit's data in the pool, and a push.
    FlipInPool { roll: u64 },
}

/// A process that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Daemon,
    Hub,
    Docker,
}

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    ToHub,
    FromHub,
}

/// A fault during an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `kill -9`, then a restart.
    Kill(Place),
    /// The node's network cable is unplugged for a moment.
    PullCable,
    /// All connections to the hub end. New ones are refused for a moment.
    CutConnections,
    /// A bit of a pack is flipped in transit.
    FlipOnTheWay(Way),
    /// The hub's disk is full.
    FillHubDisk,
    /// The disk below the node's pool is full.
    FillNodeDisk,
}

/// A fault and its time, counted from the start of the operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    pub(crate) after: Duration,
    /// The duration of the fault.
    pub(crate) during: Duration,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The index of the node.
    pub(crate) node: usize,
    pub(crate) operation: Operation,
    pub(crate) strikes: Vec<Strike>,
}

impl Step {
    /// Chooses the next step.
    pub(crate) fn roll(dice: &mut Dice, fill_node_disk: bool) -> Step {
        let node = dice.weighted(&[(6, 0), (4, 1)]);
        let (roll, times) = (dice.number(), 1 + dice.below(3));
        let operation = dice.weighted(&[
            (22, Operation::Commit { times }),
            (4, Operation::Branch),
            (14, Operation::BranchAt { roll }),
            (6, Operation::Checkout { roll }),
            (24, Operation::Reset { roll }),
            (10, Operation::Push),
            (8, Operation::Pull { roll }),
            (2, Operation::DeleteAndClone),
            (2, Operation::DeleteOnHub { roll }),
            (2, Operation::Throwaway { roll }),
            (4, Operation::Repack { roll }),
            (3, Operation::FlipOnHub { roll }),
            (3, Operation::FlipInPool { roll }),
        ]);
        let strikes = if operation.has_its_own_fault() {
            Vec::new()
        } else {
            let count = dice.weighted(&[(15, 0), (55, 1), (30, 2)]);
            (0..count)
                .map(|_| Strike::roll(dice, operation.uses_hub(), fill_node_disk))
                .collect()
        };
        Step {
            node,
            operation,
            strikes,
        }
    }
}

impl Operation {
    fn has_its_own_fault(self) -> bool {
        matches!(
            self,
            Operation::FlipOnHub { .. } | Operation::FlipInPool { .. }
        )
    }

    fn uses_hub(self) -> bool {
        matches!(
            self,
            Operation::Push
                | Operation::Pull { .. }
                | Operation::DeleteAndClone
                | Operation::DeleteOnHub { .. }
                | Operation::Throwaway { .. }
                | Operation::Repack { .. }
        )
    }
}

impl Strike {
    fn roll(dice: &mut Dice, uses_hub: bool, fill_node_disk: bool) -> Strike {
        let of_hub = u64::from(uses_hub);
        let fault = dice.weighted(&[
            (45, Fault::Kill(Place::Daemon)),
            (10 + 30 * of_hub, Fault::Kill(Place::Hub)),
            (8, Fault::Kill(Place::Docker)),
            (8 * of_hub, Fault::PullCable),
            (8 * of_hub, Fault::CutConnections),
            (8 * of_hub, Fault::FlipOnTheWay(Way::ToHub)),
            (8 * of_hub, Fault::FlipOnTheWay(Way::FromHub)),
            (6 * of_hub, Fault::FillHubDisk),
            (6 * u64::from(fill_node_disk), Fault::FillNodeDisk),
        ]);
        // Most operations take at most a second, so most faults come early.
        let late = if dice.percent(70) { 400 } else { 3000 };
        Strike {
            fault,
            after: Duration::from_millis(dice.below(late)),
            during: Duration::from_millis(100 + dice.below(1200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_steps_and_another_does_not() {
        let steps = |seed| {
            let mut dice = Dice::new(seed);
            let steps: Vec<_> = (0..100).map(|_| Step::roll(&mut dice, true)).collect();
            format!("{steps:?}")
        };
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }
}
