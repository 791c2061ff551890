//! All limits: on the input of people and programs, on their use of resources, and on their slowness. The tables in
//! `docs/hub.md` are generated from these, and a test compares them.
//!
//! A limit on input applies to new input only. Input that an earlier version accepted stays. Pages show it, and cut it
//! if it is long.

pub mod guesses;

use std::time::Duration;

use dotmesh_api::bundle::MAX_BUNDLE_LENGTH;
use dotmesh_api::hub::{MAX_COMMITS_PER_PUSH, MAX_HASHES, MAX_PACK_LENGTH};
use dotmesh_model::branch_name::MAX_BRANCH_LENGTH;
use dotmesh_model::limits as commit;
use dotmesh_model::names::MAX_NAME_LENGTH;

/// A limit on what people and programs write.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of the limit, as errors and the table show it.
    pub what: &'static str,
    /// The largest amount that is accepted.
    pub most: usize,
    /// The unit of `most`.
    pub unit: Unit,
    /// Advice for a user who reaches the limit.
    pub next: &'static str,
}

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The length of a text or a body, in bytes.
    Bytes,
    /// A number of things.
    Items,
}

/// The error for an amount beyond a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.describe())]
pub struct Beyond(pub &'static Limit);

impl Beyond {
    fn describe(&self) -> String {
        let Limit {
            what, most, unit, ..
        } = self.0;
        match unit {
            Unit::Bytes => format!("{what} is too long: the limit is {most} bytes"),
            Unit::Items => format!("too many {what}: the limit is {most}"),
        }
    }
}

impl Limit {
    /// Returns an error if the amount is beyond the limit.
    pub fn check(&'static self, amount: usize) -> Result<(), Beyond> {
        if amount > self.most {
            Err(Beyond(self))
        } else {
            Ok(())
        }
    }

    /// Returns the amount, as the table shows it.
    pub fn shown(&self) -> String {
        self.unit.shown(self.most)
    }
}

impl Unit {
    fn shown(self, most: usize) -> String {
        match self {
            Unit::Items => most.to_string(),
            Unit::Bytes if most >= 1 << 20 && most.is_multiple_of(1 << 20) => {
                format!("{} MiB", most >> 20)
            }
            Unit::Bytes if most >= 1 << 10 && most.is_multiple_of(1 << 10) => {
                format!("{} KiB", most >> 10)
            }
            Unit::Bytes => format!("{most} B"),
        }
    }
}

/// How much of a resource may be in use at once: in total, and by one person or address.
#[derive(Debug)]
pub struct Allowance {
    /// The name of the resource, as the table shows it.
    pub what: &'static str,
    /// The most in total.
    pub in_all: usize,
    /// The most for one subject. It gets less if little is free.
    pub of_one: usize,
    /// The part that is reserved for logged-in users.
    pub for_people: usize,
    /// The unit of the amounts.
    pub unit: Unit,
    /// How long a request waits for a turn.
    pub patience: Duration,
    /// The kind of subject, in the words of the table.
    pub of: &'static str,
}

/// How long the work of a page waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a transfer waits for its turn. It is shorter than a proxy's usual timeout.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(50);

/// How long a push waits for its turn after it has sent all objects. A proxy must allow for a long answer here anyway.
const FINISH_PATIENCE: Duration = Duration::from_secs(300);

const ADDRESS: &str = "address";
const PERSON: &str = "user or address";

macro_rules! allowances {
    ($(
        $(#[$doc:meta])*
        $name:ident: $unit:ident, $what:literal, $in_all:expr, $of_one:expr, $for_people:expr, $patience:expr, $of:expr;
    )*) => {
        $($(#[$doc])* pub static $name: Allowance = Allowance {
            what: $what,
            in_all: $in_all,
            of_one: $of_one,
            for_people: $for_people,
            unit: Unit::$unit,
            patience: $patience,
            of: $of,
        };)*

        /// All allowances, in the order of the table.
        pub static ALLOWANCES: &[&Allowance] = &[$(&$name),*];
    };
}

allowances! {
    /// Trusted proxies have no limit of their own: they get any connection that is free.
    CONNECTIONS: Items, "connections", 4096, 256, 0, Duration::ZERO, "connecting address";
    /// Requests count by the client's address, also if they come through a proxy.
    REQUESTS: Items, "requests", 4096, 256, 0, Duration::ZERO, ADDRESS;
    /// A body of less than one step is not counted.
    MEMORY: Bytes, "request bodies and pages in memory", 256 << 20, 128 << 20, 0, TRANSFER_PATIENCE, ADDRESS;
    /// A request counts until its response is ready. The database has eight connections for reading.
    PAGES: Items, "pages and read requests in progress", 256, 32, 64, PATIENCE, PERSON;
    /// On a machine with more cores, the total is the number of cores.
    WORK: Items, "CPU-bound tasks", 2, 64, 1, PATIENCE, PERSON;
    /// The limit applies to each of the other queues. Work that waits takes memory.
    WAITING: Items, "waiting tasks of one kind", 512, 64, 0, Duration::ZERO, PERSON;
    /// `dm` sends three packs of 8 MiB at a time.
    PACKS_IN: Bytes, "packs being unpacked", 64 << 20, 32 << 20, 0, TRANSFER_PATIENCE, PERSON;
    /// Resolving a pack takes the memory of several more packs.
    RESOLVING: Items, "packs whose deltas are being resolved", 2, 1, 0, TRANSFER_PATIENCE, PERSON;
    /// Most of them wait for another push's connectivity check.
    FINISHES: Items, "pushes being finished", 16, 8, 0, FINISH_PATIENCE, PERSON;
    /// Each holds a few parts of its pack in memory.
    PACKS_OUT: Items, "packs being sent", 16, 8, 4, TRANSFER_PATIENCE, PERSON;
    /// Each holds about 1 MiB in memory.
    DOWNLOADS: Items, "files, archives and histories being sent", 64, 16, 16, PATIENCE, PERSON;
    /// Each holds a connection for minutes.
    LISTENERS: Items, "pages that wait for live updates", 512, 32, 128, Duration::ZERO, PERSON;
    /// Each takes a core and 19 MiB.
    PASSWORDS: Items, "passwords being hashed", 2, 1, 0, PATIENCE, ADDRESS;
}

/// How slow a client may be.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The lowest speed of bodies and responses, in bytes per second. Only the time in which the hub waits for the
    /// client counts.
    pub speed: u32,
    /// How long a client may be slower than `speed`. A faster transfer restores the grace.
    pub grace: Duration,
    /// The time limit for a request's head, and for the next request on an open connection.
    pub head: Duration,
    /// The same for trusted proxies, which keep connections open.
    pub head_of_proxy: Duration,
    /// The time limit for the TLS handshake.
    pub handshake: Duration,
    /// The time limit for a whole body.
    pub body: Duration,
}

impl Pace {
    /// The pace that the hub uses, except in some tests.
    pub const DEFAULT: Self = Self {
        speed: 4 << 10,
        grace: Duration::from_secs(30),
        head: Duration::from_secs(20),
        // Longer than the minute for which load balancers keep idle connections.
        head_of_proxy: Duration::from_secs(90),
        handshake: Duration::from_secs(10),
        body: Duration::from_secs(15 * 60),
    };

    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let seconds = |time: Duration| format!("{} s", time.as_secs());
        vec![
            (
                "the minimum speed of a request body or a response",
                format!("{} KiB/s", self.speed >> 10),
            ),
            ("the grace period of a slower client", seconds(self.grace)),
            (
                "the head of a request, or the wait for the next request",
                seconds(self.head),
            ),
            ("the same from a trusted proxy", seconds(self.head_of_proxy)),
            ("the TLS handshake", seconds(self.handshake)),
            ("a whole request body", seconds(self.body)),
        ]
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $unit:ident, $what:literal, $most:expr, $next:literal;)*) => {
        $($(#[$doc])* pub static $name: Limit = Limit {
            what: $what,
            most: $most,
            unit: Unit::$unit,
            next: $next,
        };)*

        /// All limits, in the order of the table.
        pub static ALL: &[&Limit] = &[$(&$name),*];
    };
}

limits! {
    NAME: Bytes, "the name of a user or a dot", MAX_NAME_LENGTH, "choose a shorter name";
    BRANCH_NAME: Bytes, "the name of a branch or a tag", MAX_BRANCH_LENGTH, "choose a shorter name";
    /// A deleted dot counts until it is purged.
    DOTS_PER_USER: Items, "dots of a user", 5_000, "delete dots that nobody needs";
    /// Offers by other users.
    OFFERS_TO_USER: Items, "dots that are offered to a user", 500, "ask the user to take or decline some";
    DESCRIPTION: Bytes, "the description of a dot", 64 << 10, "put the text into a file of the dot";
    /// Branches that pushes create count too.
    BRANCHES_PER_DOT: Items, "branches of a dot", 5_000, "delete branches that nobody needs; their commits stay";
    /// A protected branch need not exist.
    PROTECTED_PER_DOT: Items, "protected branches of a dot", 500, "lift the protection of other branches first";
    TAGS_PER_DOT: Items, "tags of a dot", 5_000, "delete tags that nobody needs";
    TAG_MESSAGE: Bytes, "the message of a tag", 4 << 10, "write a shorter message, and put the rest into a note";
    COLLABORATORS_PER_DOT: Items, "collaborators of a dot", 1_000, "remove other collaborators first";
    WEBHOOKS_PER_DOT: Items, "webhooks of a dot", 20, "delete one that nobody needs";
    WEBHOOK_URL: Bytes, "the address of a webhook", 2 << 10, "choose a shorter address";
    NOTE: Bytes, "a note", 64 << 10, "write several notes, or put the text into a file of the dot";
    NOTES_OF_ONE: Items, "notes by one user in a dot", 1_000, "delete some of your notes";
    NOTE_BYTES_OF_ONE: Bytes, "the total text of one user's notes in a dot", 4 << 20, "delete some of your notes";
    KEYS_PER_USER: Items, "API keys of a user", 200, "revoke keys that nobody uses";
    KEY_NAME: Bytes, "the name of an API key", 100, "choose a shorter name";
    /// The seal covers the record, so the hub cannot shorten it.
    RECORD: Bytes, "the record of a commit: message, metadata, containers", commit::MAX_NEW_RECORD_LENGTH, "make the commit with less data";
    MESSAGE: Bytes, "the message of a commit", commit::MAX_MESSAGE_LENGTH, "make the commit with a shorter message";
    AUTHOR: Bytes, "the author of a commit", commit::MAX_AUTHOR_LENGTH, "set a shorter `user.name` in git";
    METADATA: Items, "metadata values of a commit", commit::MAX_METADATA, "make the commit with fewer values";
    METADATA_NAME: Bytes, "the name of a metadata value", commit::MAX_METADATA_KEY_LENGTH, "make the commit with a shorter name";
    METADATA_VALUE: Bytes, "a metadata value", commit::MAX_METADATA_VALUE_LENGTH, "put it into a file of the dot";
    /// The hub cuts a longer list, and keeps the count of its items.
    LEFT_OUT: Bytes, "the list of items that a commit leaves out (truncated, not refused)", 64 << 10, "nothing: the count stays correct";
    SUMMARY: Bytes, "the database summary of a commit", 2 << 20, "send fewer row changes, or only the counts";
    SUMMARY_TABLES: Items, "tables in a database summary", 5_000, "send only some of the tables, and say so in `problems`";
    SUMMARY_ROWS: Items, "row changes in a database summary", 2_000, "send the first of them, with `is_cut`";
    SUMMARY_COLUMNS: Items, "columns of a table in a database summary", 2_000, "leave this table out, and say so in `problems`";
    SUMMARY_PARTS: Items, "definitions or problems in a database summary", 10_000, "leave some out";
    SUMMARY_NAME: Bytes, "a name in a database summary", 4 << 10, "leave this table out, and say so in `problems`";
    SUMMARY_TEXT: Bytes, "a value or a definition in a database summary", 64 << 10, "send the beginning of the value and its hash";
    COMMITS_PER_PUSH: Items, "commits in one push", MAX_COMMITS_PER_PUSH, "push an earlier commit first";
    BRANCHES_PER_PUSH: Items, "branches in one push", 1_000, "push some of them first";
    /// All commits of a push count together.
    PUSH: Bytes, "the commits of one push together", 64 << 20, "push an earlier commit first";
    BUNDLE: Bytes, "a push in one request", MAX_BUNDLE_LENGTH, "push in several requests";
    PACK: Bytes, "a pack of objects", MAX_PACK_LENGTH, "send several packs";
    HASHES: Items, "hashes in one request", MAX_HASHES, "send several requests";
    /// Also the limit for the body of a small request.
    FORM: Bytes, "a form", 256 << 10, "send a smaller form";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hub.md");

    #[test]
    fn errors_say_what_and_how_much() {
        assert_eq!(NOTE.check(NOTE.most), Ok(()));
        let error = NOTE.check(NOTE.most + 1).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "a note is too long: the limit is 65536 bytes"
        );
        let error = TAGS_PER_DOT.check(5_001).expect_err("too many");
        assert_eq!(
            error.to_string(),
            "too many tags of a dot: the limit is 5000"
        );
    }

    #[test]
    fn no_limit_is_stated_twice() {
        let names: BTreeSet<&str> = ALL.iter().map(|limit| limit.what).collect();
        assert_eq!(names.len(), ALL.len());
    }

    /// `UPDATE=1` rewrites the tables.
    #[test]
    fn the_tables_in_the_docs_are_these() {
        let mut table =
            "| what | limit | what to do when it is reached |\n|---|---|---|\n".to_owned();
        for limit in ALL {
            let (what, most, next) = (limit.what, limit.shown(), limit.next);
            table.push_str(&format!("| {what} | {most} | {next} |\n"));
        }
        check("limits", &table);
        let mut table =
            "| in use at once | in all | per client | reserved for logged-in users | a client is |\n|---|---|---|---|---|\n"
                .to_owned();
        for allowance in ALLOWANCES {
            let Allowance { what, unit, of, .. } = allowance;
            let Allowance { in_all, of_one, .. } = **allowance;
            let [all, one] = [in_all, of_one.min(in_all)].map(|most| unit.shown(most));
            let people = match allowance.for_people {
                0 => "–".to_owned(),
                people => unit.shown(people),
            };
            table.push_str(&format!("| {what} | {all} | {one} | {people} | {of} |\n"));
        }
        check("allowances", &table);
        let mut table = "| slow clients | limit |\n|---|---|\n".to_owned();
        for (what, most) in Pace::DEFAULT.rows() {
            table.push_str(&format!("| {what} | {most} |\n"));
        }
        check("pace", &table);
        let mut table = "| wrong passwords in 15 minutes | limit |\n|---|---|\n".to_owned();
        for (what, most) in guesses::rows() {
            table.push_str(&format!("| {what} | {most} |\n"));
        }
        check("guesses", &table);
    }

    fn check(what: &str, table: &str) {
        let begin = format!("<!-- {what}: made from crates/dotmesh-hub-model/src/limits.rs -->\n");
        let end = format!("<!-- end of {what} -->\n");
        let text = std::fs::read_to_string(PATH).expect("the docs");
        let (before, rest) = text.split_once(&begin).expect("where the table begins");
        let (_, after) = rest.split_once(&end).expect("where the table ends");
        let wanted = format!("{before}{begin}\n{table}\n{end}{after}");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(PATH, &wanted).expect("the docs can be written");
        }
        let text = std::fs::read_to_string(PATH).expect("the docs");
        assert_eq!(text, wanted, "run it once with UPDATE=1");
    }
}
