//! Taking times, and the table that they end up in.
#![expect(
    clippy::print_stdout,
    reason = "printing the table is what a benchmark is for"
)]

use std::time::{Duration, Instant};

use anyhow::Result;
use dotmesh_testkit::Machine;

/// How often each thing is measured.
pub(crate) const ROUNDS: usize = 9;

/// One line of the table.
struct Row {
    figure: String,
    ours: String,
    peer: String,
    ratio: String,
    bar: String,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// A time against a peer's.
    pub(crate) fn compare(
        &mut self,
        figure: &str,
        ours: Duration,
        peer: (&str, Duration),
        bar: &str,
    ) {
        self.add(Row {
            figure: figure.to_owned(),
            ours: show(ours),
            peer: format!("{} ({})", show(peer.1), peer.0),
            ratio: format!("{:.2}", ours.as_secs_f64() / peer.1.as_secs_f64()),
            bar: bar.to_owned(),
        });
    }

    /// A figure that has no peer.
    pub(crate) fn state(&mut self, figure: &str, ours: &str, bar: &str) {
        self.add(Row {
            figure: figure.to_owned(),
            ours: ours.to_owned(),
            peer: String::new(),
            ratio: String::new(),
            bar: bar.to_owned(),
        });
    }

    fn add(&mut self, row: Row) {
        println!("{}: {} {} {}", row.figure, row.ours, row.peer, row.ratio);
        self.rows.push(row);
    }

    /// As Markdown, to be kept in `docs/benchmarks.md`.
    pub(crate) fn print(&self) {
        println!("\n| figure | Dotmesh | peer | ratio | bar |\n|---|---|---|---|---|");
        for row in &self.rows {
            println!(
                "| {} | {} | {} | {} | {} |",
                row.figure, row.ours, row.peer, row.ratio, row.bar
            );
        }
    }
}

/// `12.3 ms`
pub(crate) fn show(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// The one in the middle.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How long a line of shell takes on a machine; it has to succeed.
pub(crate) async fn time(machine: &Machine, line: &str) -> Duration {
    let start = Instant::now();
    machine.run(line).await.success();
    start.elapsed()
}

/// The most memory that a process ever had, by its `/proc/PID/status`.
pub(crate) fn peak_memory(status: &str) -> Result<String> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(format!("{} MiB", kib >> 10))
}
