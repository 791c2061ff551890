//! The actions and results of a soak, for the person who runs it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::time::Instant;

use crate::step::{Fault, Place};

/// Counters, and all violations.
#[derive(Debug)]
pub(crate) struct Report {
    seed: u64,
    began: Instant,
    pub(crate) steps: u64,
    operations: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<&'static str, u64>,
    kills: BTreeMap<Place, u64>,
    faults: BTreeMap<String, u64>,
    pub(crate) commits: u64,
    pub(crate) commits_under_load: u64,
    /// The states from which all databases were started and read.
    pub(crate) states_verified: u64,
    pub(crate) commits_verified: u64,
    flips: BTreeMap<&'static str, u64>,
    /// How often a killed Docker had to be started as after a reboot.
    pub(crate) docker_stuck: u64,
    violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(seed: u64) -> Report {
        Report {
            seed,
            began: Instant::now(),
            steps: 0,
            operations: BTreeMap::new(),
            refusals: BTreeMap::new(),
            kills: BTreeMap::new(),
            faults: BTreeMap::new(),
            commits: 0,
            commits_under_load: 0,
            states_verified: 0,
            commits_verified: 0,
            flips: BTreeMap::new(),
            docker_stuck: 0,
            violations: Vec::new(),
        }
    }

    pub(crate) fn operation(&mut self, name: &'static str, done: bool) {
        *self.operations.entry(name).or_default() += 1;
        if !done {
            *self.refusals.entry(name).or_default() += 1;
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(place) => *self.kills.entry(place).or_default() += 1,
            other => *self.faults.entry(format!("{other:?}")).or_default() += 1,
        }
    }

    /// Counts a flipped bit by its outcome.
    pub(crate) fn flip(&mut self, ended: &'static str) {
        *self.flips.entry(ended).or_default() += 1;
    }

    /// Records a violation.
    pub(crate) fn violation(&mut self, what: &str) {
        self.say(&format!("VIOLATION {what}"));
        self.violations.push(what.to_owned());
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Prints a line to stderr, even if the test harness captures the output of tests.
    pub(crate) fn say(&self, line: &str) {
        let seconds = self.began.elapsed().as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let _ = writeln!(std::io::stderr(), "{minutes:3}:{seconds:02} {line}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.began.elapsed().as_secs_f64() / 60.0;
        writeln!(
            f,
            "seed {}, {minutes:.1} minutes, {} steps",
            self.seed, self.steps
        )?;
        writeln!(
            f,
            "commits          {} made, {} of them under write load, {} verified: all databases started from them",
            self.commits, self.commits_under_load, self.commits_verified
        )?;
        writeln!(f, "states verified  {}", self.states_verified)?;
        let kills: u64 = self.kills.values().sum();
        writeln!(
            f,
            "kills            {kills}{}",
            list(&self.kills, |place| format!("{place:?}"))
        )?;
        writeln!(f, "other faults     {}", list(&self.faults, Clone::clone))?;
        writeln!(
            f,
            "flipped bits     {}",
            list(&self.flips, |&ended| ended.to_owned())
        )?;
        writeln!(
            f,
            "operations       {}",
            list(&self.operations, |&name| name.to_owned())
        )?;
        writeln!(
            f,
            "not done         {}",
            list(&self.refusals, |&name| name.to_owned())
        )?;
        writeln!(f, "docker stuck     {}", self.docker_stuck)?;
        writeln!(f, "violations       {}", self.violations.len())?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

fn list<K>(counts: &BTreeMap<K, u64>, name: impl Fn(&K) -> String) -> String {
    let words: Vec<_> = counts
        .iter()
        .map(|(key, count)| format!("{} {count}", name(key)))
        .collect();
    match words.is_empty() {
        true => String::new(),
        false => format!(" ({})", words.join(", ")),
    }
}
