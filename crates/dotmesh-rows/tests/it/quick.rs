//! Comparing changed blocks finds the same as comparing whole tables, whatever happened between two copies: transactions that
//! were open, rolled back or shared rows, crashes, vacuums, and lines that went apart.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use dotmesh_rows::blocks::{Blocks, Pair, Side, Unknown};
use dotmesh_rows::compare::{Options, Quick, compare};
use dotmesh_rows::model::{DatabaseKind, DiffEvent};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::{Opened, Programs, here, in_root, open, signal};

/// Small random numbers, the same at each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// A server that an app uses.
pub(crate) struct Live {
    programs: &'static Programs,
    folder: TempDir,
    /// The size of a file of the log, in MiB.
    segment: u32,
    server: Child,
    pub(crate) sessions: Vec<Session>,
}

pub(crate) struct Session {
    psql: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    count: u64,
}

impl Session {
    fn begin(programs: &Programs, folder: &Path) -> Self {
        let mut psql = programs
            .command("psql")
            .args([
                "-X", "-q", "-A", "-t", "-U", "postgres", "-d", "postgres", "-h",
            ])
            .arg(folder)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql");
        let input = psql.stdin.take().expect("its input");
        let output = BufReader::new(psql.stdout.take().expect("its output"));
        let mut session = Self {
            psql,
            input,
            output,
            count: 0,
        };
        session.run("SET lock_timeout = '50ms'; SET deadlock_timeout = '20ms'; SET synchronous_commit = off;");
        session
    }

    /// Runs a statement to its end. It may fail.
    pub(crate) fn run(&mut self, statement: &str) {
        self.count += 1;
        let mark = format!("end-{}", self.count);
        writeln!(self.input, "{statement}\n\\echo {mark}").expect("psql reads");
        let mut line = String::new();
        while line.trim() != mark {
            line.clear();
            assert!(
                self.output.read_line(&mut line).expect("psql answers") > 0,
                "psql ended"
            );
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        signal(&self.psql, Signal::KILL);
        let _ = self.psql.wait();
    }
}

impl Live {
    pub(crate) fn start(programs: &'static Programs) -> Self {
        Self::start_with(programs, 1)
    }

    pub(crate) fn start_with(programs: &'static Programs, segment: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        programs.own(folder.path());
        let made = programs
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .arg(format!("--wal-segsize={segment}"))
            .args(["--locale=C.UTF-8", "--pgdata"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{made:?}");
        let server = Self::serve(programs, folder.path(), segment);
        let mut live = Self {
            programs,
            folder,
            segment,
            server,
            sessions: Vec::new(),
        };
        live.wait();
        live.sessions[0].run(
            "CREATE TABLE keyed (id int PRIMARY KEY, v text, n numeric) WITH (fillfactor = 70);
             CREATE TABLE heap (a int, b text);
             CREATE TABLE still (id int PRIMARY KEY, v text);
             INSERT INTO keyed SELECT g, md5(g::text), g FROM generate_series(1, 3000) g;
             INSERT INTO heap SELECT g % 50, repeat('x', 100) FROM generate_series(1, 2000) g;
             INSERT INTO still SELECT g, md5(g::text) FROM generate_series(1, 3000) g;",
        );
        live
    }

    fn serve(programs: &Programs, folder: &Path, segment: u32) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .expect("a log");
        programs
            .command("postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(folder)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=2MB",
                "-c",
                "autovacuum_naptime=1",
            ])
            .args([
                "-c",
                "wal_recycle=off",
                "-c",
                "max_prepared_transactions=2",
                "-c",
                "bgwriter_delay=10ms",
            ])
            .arg("-c")
            .arg(format!("max_wal_size={}MB", 4 * segment))
            .current_dir(folder)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("postgres")
    }

    fn wait(&mut self) {
        loop {
            let ready = self
                .programs
                .command("sh")
                .args([
                    "-c",
                    "pg_isready -q -U postgres -h \"$0\" || { sleep 0.05; exit 1; }",
                ])
                .arg(self.folder.path())
                .current_dir(self.folder.path())
                .status();
            if ready.expect("pg_isready").success() {
                break;
            }
            // After a crash, a process that ends late keeps the next server from starting.
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                self.server = Self::serve(self.programs, self.folder.path(), self.segment);
            }
        }
        let begin = |_| Session::begin(self.programs, self.folder.path());
        self.sessions = (0..3).map(begin).collect();
    }

    /// The server and all its processes.
    fn processes(&self) -> Vec<Pid> {
        let own = self.server.id();
        let mut processes = vec![own];
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent == Some(own.to_string().as_str()) {
                processes.push(id);
            }
        }
        let pids = processes
            .into_iter()
            .filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?));
        pids.collect()
    }

    /// Copies the data as it is at one instant.
    pub(crate) fn copy(&self) -> TempDir {
        let to = tempfile::tempdir().expect("a folder");
        let processes = self.processes();
        for pid in &processes {
            let _ = kill_process(*pid, Signal::STOP);
        }
        // A process that was made meanwhile.
        let more = self.processes();
        for pid in &more {
            let _ = kill_process(*pid, Signal::STOP);
        }
        let copied = Command::new("cp")
            .arg("-aT")
            .arg(self.folder.path().join("data"))
            .arg(to.path())
            .status();
        for pid in &more {
            let _ = kill_process(*pid, Signal::CONT);
        }
        assert!(copied.expect("cp").success());
        to
    }

    /// Stops the server in order, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.sessions.clear();
        signal(&self.server, Signal::INT);
        let _ = self.server.wait();
        self.server = Self::serve(self.programs, self.folder.path(), self.segment);
        self.wait();
    }

    pub(crate) fn crash(&mut self) {
        self.sessions.clear();
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.server.wait();
        let _ = std::fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        self.server = Self::serve(self.programs, self.folder.path(), self.segment);
        self.wait();
    }

    fn act(&mut self, dice: &mut Dice) {
        if dice.roll(60) == 0 {
            return self.crash();
        }
        let place = dice.roll(self.sessions.len() as u64) as usize;
        self.sessions[place].run(&statement(dice));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.sessions.clear();
        signal(&self.server, Signal::QUIT);
        let _ = self.server.wait();
    }
}

fn statement(dice: &mut Dice) -> String {
    let id = dice.roll(3200) + 1;
    let few = dice.roll(20);
    match dice.roll(24) {
        0 | 1 => "BEGIN;".to_owned(),
        2 | 3 => "COMMIT;".to_owned(),
        4 => "ROLLBACK;".to_owned(),
        5 => "SAVEPOINT s;".to_owned(),
        6 => "ROLLBACK TO s;".to_owned(),
        7 => "RELEASE s;".to_owned(),
        8 => format!("INSERT INTO keyed VALUES ({id}, 'new', {few}) ON CONFLICT DO NOTHING;"),
        9 => format!("UPDATE keyed SET v = 'u{few}' WHERE id BETWEEN {id} AND {id} + {few};"),
        10 => format!("UPDATE keyed SET n = n + 1 WHERE id = {id};"),
        11 => format!("DELETE FROM keyed WHERE id BETWEEN {id} AND {id} + {few};"),
        12 => format!("INSERT INTO heap SELECT {few}, 'same' FROM generate_series(1, {few});"),
        13 => format!(
            "DELETE FROM heap WHERE ctid IN (SELECT ctid FROM heap WHERE a = {few} LIMIT 3);"
        ),
        14 => format!(
            "UPDATE heap SET b = 'h{few}' WHERE a = {few} AND ctid IN (SELECT ctid FROM heap LIMIT 100);"
        ),
        15 => format!("SELECT * FROM keyed WHERE id BETWEEN {id} AND {id} + 5 FOR KEY SHARE;"),
        16 => format!("SELECT * FROM keyed WHERE id = {id} FOR UPDATE;"),
        17 => "SELECT count(*), max(v) FROM keyed;".to_owned(),
        18 => "SELECT count(*) FROM heap; SELECT count(*) FROM still;".to_owned(),
        19 => "VACUUM keyed, heap;".to_owned(),
        20 => "CHECKPOINT;".to_owned(),
        21 => format!(
            "UPDATE keyed SET v = (SELECT string_agg(md5((g * {id})::text), '') FROM generate_series(1, 300) g) WHERE id = {id};"
        ),
        22 if few == 0 => "VACUUM FULL heap;".to_owned(),
        22 if few == 1 => "VACUUM FREEZE keyed;".to_owned(),
        22 if few == 2 => "ALTER TABLE still ADD COLUMN IF NOT EXISTS more int;".to_owned(),
        22 if few == 3 => "TRUNCATE heap;".to_owned(),
        _ => format!(
            "BEGIN; UPDATE keyed SET v = 'x' WHERE id = {id}; UPDATE keyed SET v = 'y' WHERE id = {id} + 1; COMMIT;"
        ),
    }
}

fn options() -> Options {
    Options {
        database: None,
        table: None,
        limit: None,
        longest: 1000,
    }
}

fn events(old: &Opened, new: &Opened, quick: Option<&dyn Quick>) -> Vec<DiffEvent> {
    let mut events = Vec::new();
    let (of_old, of_new) = (Some(&*old.adapter), Some(&*new.adapter));
    compare(
        &new.store,
        of_old,
        of_new,
        &options(),
        quick,
        &mut |event| {
            assert!(!matches!(event, DiffEvent::Problem { .. }), "{event:?}");
            events.push(event);
            Ok(())
        },
    )
    .expect("both are compared");
    events
}

fn side(opened: &Opened, data: &Path) -> Side {
    let next = opened
        .adapter
        .next_transaction()
        .expect("a number")
        .expect("a number");
    opened.adapter.settle().expect("a checkpoint");
    Side {
        folder: File::open(data).expect("the data").into(),
        next,
    }
}

/// Compares both ways. Returns how many tables were not read in full.
pub(crate) fn check(old: (&Opened, &Path), new: (&Opened, &Path), what: &str) -> usize {
    let (one, two) = (side(old.0, old.1), side(new.0, new.1));
    let pair = Pair::new(&one, &two, &Unknown).expect("the files are compared");
    let places = new.0.adapter.tables("postgres").expect("tables");
    let saved = places
        .iter()
        .filter(|table| pair.table(&table.place).expect("files") != Blocks::All);
    let saved = saved.count();
    let quick = events(old.0, new.0, Some(&pair));
    let full = events(old.0, new.0, None);
    assert_eq!(quick, full, "{what}");
    saved
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().to_owned()
}

#[test]
fn changed_blocks_tell_the_same_as_whole_tables() {
    quick_as_full(here(), 6);
}

#[test]
fn changed_blocks_tell_the_same_as_whole_tables_in_postgresql_17() {
    let programs = in_root("databases-13");
    assert_eq!(programs.version, "17");
    quick_as_full(programs, 3);
}

#[test]
fn changed_blocks_tell_the_same_as_whole_tables_in_the_newest_postgresql() {
    quick_as_full(in_root("databases-sid"), 3);
}

fn quick_as_full(programs: &'static Programs, runs: u64) {
    let asked = std::env::var("QUICK")
        .ok()
        .and_then(|runs| runs.parse().ok());
    let runs = asked.unwrap_or(runs);
    let mut saved = 0;
    for run in 1..=runs {
        let mut dice = Dice(run.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut live = Live::start(programs);
        for _ in 0..dice.roll(40) {
            live.act(&mut dice);
        }
        let mut copies = vec![live.copy()];
        for _ in 0..2 {
            for _ in 0..dice.roll(30) {
                live.act(&mut dice);
            }
            copies.push(live.copy());
        }
        let opened: Vec<Opened> = copies
            .iter()
            .map(|copy| open(programs, copy.path(), DatabaseKind::Postgres))
            .collect();
        let (first, second, third) = (data(&copies[0]), data(&copies[1]), data(&copies[2]));
        saved += check(
            (&opened[0], &first),
            (&opened[1], &second),
            &format!("run {run}, first to second"),
        );
        saved += check(
            (&opened[2], &third),
            (&opened[0], &first),
            &format!("run {run}, third to first"),
        );
        // The first copy goes another way, with the same numbers of transactions.
        for _ in 0..dice.roll(12) {
            let line = statement(&mut dice)
                .replace("BEGIN;", "")
                .replace("COMMIT;", "");
            let mut answer = opened[0]
                .adapter
                .run(opened[0].adapter.statement(None, line.as_bytes()))
                .expect("psql");
            let _ = std::io::copy(&mut answer, &mut std::io::sink());
        }
        saved += check(
            (&opened[0], &first),
            (&opened[2], &third),
            &format!("run {run}, went apart"),
        );
    }
    assert!(saved as u64 > runs * 3, "blocks tell something: {saved}");
}

#[test]
fn a_transaction_that_ended_in_between_is_found_in_equal_blocks() {
    let mut live = Live::start(here());
    live.sessions[0].run("CHECKPOINT;");
    live.sessions[1].run("BEGIN; UPDATE keyed SET v = 'late' WHERE id = 7;");
    live.sessions[0].run("CHECKPOINT;");
    let first = live.copy();
    // The answer comes once the commit is in the log.
    live.sessions[1].run("SET LOCAL synchronous_commit = on; COMMIT;");
    let second = live.copy();
    let (old, new) = (
        open(here(), first.path(), DatabaseKind::Postgres),
        open(here(), second.path(), DatabaseKind::Postgres),
    );
    check((&old, first.path()), (&new, second.path()), "a late commit");
    let rows = events(&old, &new, None);
    assert!(
        rows.iter()
            .any(|event| matches!(event, DiffEvent::Row(row) if row.changed == [1])),
        "{rows:?}"
    );
}
