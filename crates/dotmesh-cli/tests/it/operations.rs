//! The output of `dm op log` and `dm undo`.

use dotmesh_api::node::{
    DeletedDot, OperationState, OperationSummary, Operations, Switched, UndoBudget,
};
use dotmesh_cli::commands::{op, undo};
use insta::assert_snapshot;
use jiff::Timestamp;
use jiff::tz::TimeZone;

fn operation(number: u64, what: &str, state: OperationState, bytes: u64) -> OperationSummary {
    OperationSummary {
        number,
        what: what.to_owned(),
        time: Timestamp::from_second(1_782_894_000 + 60 * number.cast_signed()).unwrap(),
        state,
        bytes,
    }
}

#[test]
fn the_operations_of_a_dot_are_listed() {
    use OperationState::{Done, Undone};
    let mut log = Operations {
        dot: "app".parse().unwrap(),
        is_here: true,
        operations: vec![
            operation(12, "deletion of branch old at 1a2b3c4d", Undone, 1 << 20),
            operation(
                11,
                "reset of branch master from 1a2b3c4d to 5e6f7a8b",
                Done,
                5000,
            ),
            operation(9, "commit 1a2b3c4d on branch master: Two users", Done, 0),
        ],
        deleted: Vec::new(),
        budget: UndoBudget {
            seconds: 7 * 86_400,
            bytes: 4 << 30,
            used: 1_053_576,
        },
    };
    assert_snapshot!(op::log::render(&log, &TimeZone::UTC), @r"
            NUMBER  TIME                 KEPT      OPERATION
    undone  12      2026-07-01 08:32:00  1.00 MiB  deletion of branch old at 1a2b3c4d
    *       11      2026-07-01 08:31:00  4.88 KiB  reset of branch master from 1a2b3c4d to 5e6f7a8b
            9       2026-07-01 08:29:00  -         commit 1a2b3c4d on branch master: Two users

    Kept for 7 days, at most 4.00 GiB over all dots; about 1.00 MiB are used.
    ");
    log.is_here = false;
    log.operations.clear();
    log.deleted = vec![DeletedDot {
        id: "1234abcd".repeat(4),
        time: Timestamp::from_second(1_782_894_900).unwrap(),
        bytes: 3 << 20,
    }];
    log.budget.seconds = 3600;
    assert_snapshot!(op::log::render(&log, &TimeZone::UTC), @r"
    Dot app is deleted. Its log:
    No operations are kept.

    DELETED DOT  TIME                 KEPT
    1234abcd     2026-07-01 08:35:00  3.00 MiB

    Kept for 1 hour, at most 4.00 GiB over all dots; about 1.00 MiB are used.
    ");
}

#[test]
fn an_undo_says_what_it_took_back_and_where() {
    let done = Switched {
        branch: "master".parse().unwrap(),
        head: "1a2b3c4d".repeat(4).parse().unwrap(),
        restarted: Vec::new(),
        removed: Vec::new(),
        replaced: Vec::new(),
        later: Vec::new(),
        problems: Vec::new(),
        operation: Some("switch from branch master to the new branch x".to_owned()),
        renamed: None,
    };
    let dot = "app".parse().unwrap();
    assert_snapshot!(undo::describe("Undid", &dot, &done), @r"
    Undid in dot 'app': switch from branch master to the new branch x
    Branch master is checked out, at 1a2b3c4d1a
    ");
}
