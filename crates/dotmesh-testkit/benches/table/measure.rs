//! The measurements, the table of ratios, and the table with the raw results.
#![expect(
    clippy::print_stdout,
    reason = "printing the tables is what a benchmark is for"
)]

use std::time::{Duration, Instant};

use dotmesh_testkit::Machine;

/// The name of Dotmesh in the tables.
pub(crate) const OURS: &str = "Dotmesh";

/// The cost of one run of one tool, in seconds and bytes. A value without meaning for a tool is 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// The elapsed time.
    pub(crate) wall: f64,
    /// The CPU time of the peer, or of the node's daemon.
    pub(crate) cpu: f64,
    /// The CPU time of the hub's daemon.
    pub(crate) hub_cpu: f64,
    /// The bytes that the tool reports as sent. For a peer, the growth of its repository.
    pub(crate) bytes: f64,
    /// The bytes on the hub's network card in the direction of the transfer, with headers.
    pub(crate) counted: f64,
    /// The peak memory of the node's daemon.
    pub(crate) node_peak: f64,
    /// The peak memory of the hub's daemon.
    pub(crate) hub_peak: f64,
}

/// A measured quantity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Metric {
    Time,
    Bytes,
    /// Bytes on the hub's network card.
    Wire,
}

impl Metric {
    fn of(self, cost: &Cost) -> f64 {
        match self {
            Self::Time => cost.wall,
            Self::Bytes => cost.bytes,
            Self::Wire => cost.counted,
        }
    }

    /// `12.3 ms`, `1.23 s`, `1.2 MiB`
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 1.0 => format!("{:.1} ms", value * 1000.0),
            Self::Time => format!("{value:.2} s"),
            Self::Bytes | Self::Wire => format!("{:.1} MiB", value / f64::from(1 << 20)),
        }
    }
}

/// A target: the highest allowed ratio to the best of some peers.
pub(crate) struct Bar {
    at_most: f64,
    of: &'static str,
    /// The names of these peers. Empty means all that were measured.
    among: &'static [&'static str],
}

impl Bar {
    pub(crate) const fn new(
        at_most: f64,
        of: &'static str,
        among: &'static [&'static str],
    ) -> Self {
        Self { at_most, of, among }
    }
}

/// One row of the table.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) peers: String,
    pub(crate) ratio: String,
    pub(crate) bar: String,
    /// `None` without a target, or without a peer to compare with.
    pub(crate) met: Option<bool>,
}

/// All rounds of one operation by one tool.
struct Samples {
    operation: String,
    who: &'static str,
    costs: Vec<Cost>,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    samples: Vec<Samples>,
}

impl Table {
    /// Records the cost of one round of an operation.
    pub(crate) fn record(&mut self, operation: &str, who: &'static str, cost: Cost) {
        println!(
            "  {operation}, {who}: {}, {} of CPU, {}",
            Metric::Time.show(cost.wall),
            Metric::Time.show(cost.cpu + cost.hub_cpu),
            Metric::Bytes.show(cost.bytes),
        );
        let known = self
            .samples
            .iter_mut()
            .find(|samples| samples.operation == operation && samples.who == who);
        match known {
            Some(samples) => samples.costs.push(cost),
            None => self.samples.push(Samples {
                operation: operation.to_owned(),
                who,
                costs: vec![cost],
            }),
        }
    }

    /// Records the last cost of one operation also for another one.
    pub(crate) fn record_again(&mut self, from: &str, to: &str, who: &'static str) {
        let done = self
            .samples
            .iter()
            .find(|samples| samples.operation == from && samples.who == who);
        if let Some(cost) = done.and_then(|samples| samples.costs.last()).copied() {
            self.record(to, who, cost);
        }
    }

    /// The median of Dotmesh's rounds.
    pub(crate) fn ours(&self, operation: &str, metric: Metric) -> f64 {
        self.of(OURS, operation, metric)
    }

    /// The median of a tool's rounds.
    pub(crate) fn of(&self, whose: &str, operation: &str, metric: Metric) -> f64 {
        self.medians(operation, metric)
            .find(|(who, _)| *who == whose)
            .map_or(f64::NAN, |(_, value)| value)
    }

    /// The sum of a value over the first `rounds` rounds of a tool. Not a number if it has fewer.
    pub(crate) fn sum(
        &self,
        whose: &str,
        operation: &str,
        rounds: usize,
        of: impl Fn(&Cost) -> f64,
    ) -> f64 {
        let samples = self
            .samples
            .iter()
            .find(|samples| samples.operation == operation && samples.who == whose);
        let costs = samples.and_then(|samples| samples.costs.get(..rounds));
        costs.map_or(f64::NAN, |costs| costs.iter().map(of).sum())
    }

    fn medians(
        &self,
        operation: &str,
        metric: Metric,
    ) -> impl Iterator<Item = (&'static str, f64)> {
        self.samples
            .iter()
            .filter(move |samples| samples.operation == operation)
            .map(move |samples| (samples.who, samples.median(|cost| metric.of(cost))))
    }

    /// Adds a row for each target: Dotmesh's median, and each peer's with its ratio.
    pub(crate) fn compare(&mut self, figure: &str, operation: &str, metric: Metric, bars: &[Bar]) {
        let ours = self.ours(operation, metric);
        let peers: Vec<_> = self
            .medians(operation, metric)
            .filter(|&(who, value)| who != OURS && value > 0.0)
            .collect();
        let shown: Vec<_> = peers
            .iter()
            .map(|(who, value)| format!("{who} {} ({:.2})", metric.show(*value), ours / value))
            .collect();
        for (number, bar) in bars.iter().enumerate() {
            let best = peers
                .iter()
                .filter(|(who, _)| bar.among.is_empty() || bar.among.contains(who))
                .map(|(_, value)| *value)
                .reduce(f64::min);
            self.add(Row {
                figure: figure.to_owned(),
                ours: metric.show(ours),
                // The peers are shown only in the first row.
                peers: if number == 0 {
                    shown.join(", ")
                } else {
                    String::new()
                },
                ratio: best.map_or_else(String::new, |best| format!("{:.2}", ours / best)),
                bar: format!("at most {} × {}", bar.at_most, bar.of),
                met: best.map(|best| ours <= bar.at_most * best),
            });
        }
    }

    /// Adds a row with a fixed limit.
    pub(crate) fn limit(&mut self, figure: &str, metric: Metric, ours: f64, at_most: f64) {
        self.add(Row {
            figure: figure.to_owned(),
            ours: metric.show(ours),
            peers: String::new(),
            ratio: format!("{:.2}", ours / at_most),
            bar: format!("at most {}", metric.show(at_most)),
            met: Some(ours <= at_most),
        });
    }

    /// Adds a result without a target.
    pub(crate) fn state(&mut self, figure: &str, ours: String) {
        self.add(Row {
            figure: figure.to_owned(),
            ours,
            peers: String::new(),
            ratio: String::new(),
            bar: String::new(),
            met: None,
        });
    }

    pub(crate) fn add(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Adds rows with the peak memory of all records.
    pub(crate) fn peaks(&mut self) {
        let limit = f64::from(256 << 20);
        let all = || self.samples.iter().flat_map(|samples| &samples.costs);
        let node = all().map(|cost| cost.node_peak).fold(0.0, f64::max);
        let hub = all().map(|cost| cost.hub_peak).fold(0.0, f64::max);
        if hub > 0.0 {
            self.limit("9 peak memory, node", Metric::Bytes, node, limit);
            self.limit("9 peak memory, hub", Metric::Bytes, hub, limit);
        }
    }

    /// Prints the tables as Markdown for `docs/benchmarks.md`. Rows are sorted by number, whatever ran first.
    pub(crate) fn print(&mut self) {
        self.rows.sort_by_key(Row::number);
        println!(
            "\n| result | Dotmesh | peers (ratio) | ratio | target | met |\n|---|---|---|---|---|---|"
        );
        for row in &self.rows {
            println!("{}", row.line());
        }
        if self.samples.is_empty() {
            return;
        }
        println!(
            "\n| operation | by | rounds | time | CPU | hub's CPU | bytes | on the wire | peak memory | hub's peak |\n\
             |---|---|---|---|---|---|---|---|---|---|"
        );
        for samples in &self.samples {
            println!("{}", samples.line());
        }
    }
}

impl Row {
    /// The number at the start of the result's name. Results of single commands have none.
    fn number(&self) -> u32 {
        let number = self.figure.split(' ').next().unwrap_or_default();
        number.parse().unwrap_or_default()
    }

    fn line(&self) -> String {
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        format!(
            "| {} | {} | {} | {} | {} | {met} |",
            self.figure, self.ours, self.peers, self.ratio, self.bar
        )
    }
}

impl Samples {
    fn median(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        median(self.costs.iter().map(of).collect())
    }

    fn line(&self) -> String {
        let show = |metric: Metric, of: fn(&Cost) -> f64| match self.median(of) {
            0.0 => String::new(),
            value => metric.show(value),
        };
        let seconds = |of| show(Metric::Time, of);
        let bytes = |of| show(Metric::Bytes, of);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.operation,
            self.who,
            self.costs.len(),
            seconds(|cost| cost.wall),
            seconds(|cost| cost.cpu),
            seconds(|cost| cost.hub_cpu),
            bytes(|cost| cost.bytes),
            bytes(|cost| cost.counted),
            bytes(|cost| cost.node_peak),
            bytes(|cost| cost.hub_peak),
        )
    }
}

/// The median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The time of a line of shell on a machine. The line must succeed.
pub(crate) async fn time(machine: &Machine, line: &str) -> f64 {
    let start = Instant::now();
    machine.run(line).await.success();
    seconds(start.elapsed())
}

pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// The user and system time from the last line that `times` prints, such as `0m1.234s 0m0.567s`.
pub(crate) fn children_time(printed: &str) -> Option<f64> {
    let times = printed.lines().next_back()?.split_whitespace();
    times
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m')?;
            Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
        })
        .sum()
}
