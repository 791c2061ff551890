//! What happens in a soak, one step after the other: all of it follows from the seed.

use std::time::Duration;

use crate::dice::Dice;

/// What users do. A roll chooses among what is there when the step comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// `dm commit`, several times.
    Commit { times: u64 },
    /// `dm checkout -b NEW`, which takes uncommitted changes along.
    Branch,
    /// `dm checkout -b NEW COMMIT`.
    BranchAt { roll: u64 },
    /// `dm checkout BRANCH`.
    Checkout { roll: u64 },
    /// `dm reset --hard COMMIT`.
    Reset { roll: u64 },
    /// `dm push hub app`, the current branch.
    Push,
    /// `dm pull hub app BRANCH`, a branch of the other node.
    Pull { roll: u64 },
    /// Everything is pushed, `dm dot delete`, `dm clone`.
    DeleteAndClone,
    /// A branch is deleted on the hub.
    DeleteOnHub { roll: u64 },
    /// A dot is made, pushed, deleted here and on the hub, and restored there.
    Throwaway { roll: u64 },
    /// A push, a flipped bit in what the hub stored of it, a pull by the other node.
    FlipOnHub { roll: u64 },
    /// A commit, a flipped bit in the pool where the commit's data is, a push.
    FlipInPool { roll: u64 },
}

/// Where a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Daemon,
    Hub,
    Docker,
}

/// A way that bytes go through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    ToHub,
    FromHub,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `kill -9`, and a new start.
    Kill(Place),
    /// The node's network cable is pulled for a moment.
    PullCable,
    /// All connections to the hub end, and new ones are refused for a moment.
    CutConnections,
    /// A bit of a pack is flipped on its way.
    FlipOnTheWay(Way),
    /// The hub's disk is full.
    FillHubDisk,
    /// The disk below the node's pool is full.
    FillNodeDisk,
}

/// A fault and when it strikes, from the beginning of the operation on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    pub(crate) after: Duration,
    /// How long until the fault is over.
    pub(crate) during: Duration,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The index of the node that it happens on.
    pub(crate) node: usize,
    pub(crate) operation: Operation,
    pub(crate) strikes: Vec<Strike>,
}

impl Step {
    /// The next step.
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
        // Most operations take a second or less, so most strikes come early.
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
