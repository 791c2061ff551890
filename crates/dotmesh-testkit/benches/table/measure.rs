//! What is measured, the table of ratios, and the table of what the figures are made of.
#![expect(
    clippy::print_stdout,
    reason = "printing the tables is what a benchmark is for"
)]

use std::time::{Duration, Instant};

use dotmesh_testkit::Machine;

/// Who is measured when it is not a peer.
pub(crate) const OURS: &str = "Dotmesh";

/// What one run of one tool took, in seconds and bytes. What has no meaning for a tool is 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From start to end.
    pub(crate) wall: f64,
    /// Processor time of the peer, or of the node's daemon.
    pub(crate) cpu: f64,
    /// Processor time of the hub's daemon.
    pub(crate) hub_cpu: f64,
    /// What was sent, as the tool says; for a peer, what its repository grew by.
    pub(crate) bytes: f64,
    /// What the hub's network card counted in the direction of the transfer, headers included.
    pub(crate) counted: f64,
    /// The most memory that the node's daemon had.
    pub(crate) node_peak: f64,
    /// The most memory that the hub's daemon had.
    pub(crate) hub_peak: f64,
}

/// The figures that rows are about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Metric {
    Time,
    Bytes,
}

impl Metric {
    fn of(self, cost: &Cost) -> f64 {
        match self {
            Self::Time => cost.wall,
            Self::Bytes => cost.bytes,
        }
    }

    /// `12.3 ms`, `1.23 s`, `1.2 MiB`
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 1.0 => format!("{:.1} ms", value * 1000.0),
            Self::Time => format!("{value:.2} s"),
            Self::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
        }
    }
}

/// The ratio to the best of some peers that is to be reached.
pub(crate) struct Bar {
    at_most: f64,
    of: &'static str,
    /// None named: all that were measured.
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

/// One line of the table.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) peers: String,
    pub(crate) ratio: String,
    pub(crate) bar: String,
    /// Nothing where there is no bar, or no peer to measure it by.
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
    /// Keeps what one round of an operation took.
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

    /// What a tool just did is also its answer to another operation.
    pub(crate) fn record_again(&mut self, from: &str, to: &str, who: &'static str) {
        let done = self
            .samples
            .iter()
            .find(|samples| samples.operation == from && samples.who == who);
        if let Some(cost) = done.and_then(|samples| samples.costs.last()).copied() {
            self.record(to, who, cost);
        }
    }

    /// The median of our rounds.
    pub(crate) fn ours(&self, operation: &str, metric: Metric) -> f64 {
        self.of(OURS, operation, metric)
    }

    /// The median of a tool's rounds.
    pub(crate) fn of(&self, whose: &str, operation: &str, metric: Metric) -> f64 {
        self.medians(operation, metric)
            .find(|(who, _)| *who == whose)
            .map_or(f64::NAN, |(_, value)| value)
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

    /// A line for each bar: our median against those of the peers, each with its ratio.
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
                // Said once is enough.
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

    /// A figure against a fixed limit.
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

    /// A figure for the record.
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

    /// The most memory over all that was recorded.
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

    /// As Markdown, to be kept in `docs/benchmarks.md`; by their numbers, whatever ran first.
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
    /// What the figure begins with. Those of single commands have no number.
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

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How long a line of shell takes on a machine; it has to succeed.
pub(crate) async fn time(machine: &Machine, line: &str) -> f64 {
    let start = Instant::now();
    machine.run(line).await.success();
    seconds(start.elapsed())
}

pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
