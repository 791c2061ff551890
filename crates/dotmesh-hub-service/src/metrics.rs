//! The metrics of one process since it started, in the Prometheus text format. Values that all processes share are read
//! from the database when the metrics are read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The upper bounds of the histogram's buckets, in seconds. A page should take less than 0.05 s. A push may take long.
const CLASSES: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// The counters of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Series, Histogram>>,
    pushes: AtomicU64,
    failed_logins: AtomicU64,
    collected_bytes: AtomicU64,
    repacked_bytes: AtomicU64,
    repacks_saved_bytes: AtomicU64,
    damaged_packs: AtomicU64,
    refused_connections: AtomicU64,
}

/// A series of requests. There is one for each combination of route, method and status.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Default)]
struct Histogram {
    /// The number of requests in each bucket, by its upper bound.
    counts: [u64; CLASSES.len()],
    count: u64,
    sum: f64,
}

/// Values that are measured when the metrics are read.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// The number of accounts.
    pub users: u64,
    /// The number of dots.
    pub dots: u64,
    /// The size of all packs, in bytes.
    pub stored_bytes: u64,
    /// The number of open connections.
    pub connections: usize,
    /// How long the database took to answer.
    pub database: Duration,
    /// How long the store took to answer. `None` if it did not answer.
    pub store: Option<Duration>,
}

impl Metrics {
    /// Counts a request. `route` is the route's pattern, never a path that a client chose.
    pub fn record(&self, method: &str, route: &str, status: u16, took: Duration) {
        let series = Series {
            route: route.to_owned(),
            method: known(method),
            status,
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = requests.entry(series).or_default();
        let seconds = took.as_secs_f64();
        histogram.count += 1;
        histogram.sum += seconds;
        if let Some(class) = CLASSES.iter().position(|end| seconds <= *end) {
            histogram.counts[class] += 1;
        }
    }

    /// Counts a push.
    pub fn pushed(&self) {
        self.pushes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes of packs that were removed as garbage.
    pub fn collected(&self, bytes: u64) {
        self.collected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of packs that were repacked, and how many bytes fewer the new packs have. Sets the number of packs
    /// that were left out.
    pub fn repacked(&self, before: u64, after: u64, damaged: u64) {
        self.damaged_packs.store(damaged, Ordering::Relaxed);
        self.repacked_bytes.fetch_add(before, Ordering::Relaxed);
        let saved = before.saturating_sub(after);
        self.repacks_saved_bytes.fetch_add(saved, Ordering::Relaxed);
    }

    /// Counts a wrong password.
    pub(crate) fn login_failed(&self) {
        self.failed_logins.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was closed because there were too many.
    pub fn connection_refused(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Renders all metrics as text.
    pub fn render(&self, measured: &Measured) -> String {
        let mut out = String::new();
        self.render_requests(&mut out);
        let Measured {
            users,
            dots,
            stored_bytes,
            connections,
            database,
            store,
        } = measured;
        let refused = self.refused_connections.load(Ordering::Relaxed);
        let store = store.map_or(f64::NAN, |took| took.as_secs_f64());
        let pushes = self.pushes.load(Ordering::Relaxed);
        let failed = self.failed_logins.load(Ordering::Relaxed);
        let collected = self.collected_bytes.load(Ordering::Relaxed);
        let repacked = self.repacked_bytes.load(Ordering::Relaxed);
        let saved = self.repacks_saved_bytes.load(Ordering::Relaxed);
        let damaged = self.damaged_packs.load(Ordering::Relaxed);
        let lines: [(&str, &str, &str, &dyn std::fmt::Display); 13] = [
            (
                "dothub_pushes_total",
                "counter",
                "Pushes that were made visible by this process.",
                &pushes,
            ),
            (
                "dothub_failed_logins_total",
                "counter",
                "Wrong passwords that this process was given.",
                &failed,
            ),
            (
                "dothub_collected_bytes_total",
                "counter",
                "Bytes of packs that this process removed as garbage.",
                &collected,
            ),
            (
                "dothub_repacked_bytes_total",
                "counter",
                "Bytes of packs that this process repacked.",
                &repacked,
            ),
            (
                "dothub_repacks_saved_bytes_total",
                "counter",
                "How many bytes fewer the repacked packs have than those before.",
                &saved,
            ),
            (
                "dothub_damaged_packs",
                "gauge",
                "Lost or damaged packs that the last repack of this process left out.",
                &damaged,
            ),
            (
                "dothub_connections",
                "gauge",
                "Connections to this process.",
                connections,
            ),
            (
                "dothub_refused_connections_total",
                "counter",
                "Connections that this process closed because there were too many.",
                &refused,
            ),
            ("dothub_users", "gauge", "Accounts.", users),
            ("dothub_dots", "gauge", "Dots.", dots),
            (
                "dothub_stored_bytes",
                "gauge",
                "Bytes of packs that were taken.",
                stored_bytes,
            ),
            (
                "dothub_database_seconds",
                "gauge",
                "What the database took to answer just now.",
                &database.as_secs_f64(),
            ),
            (
                "dothub_store_seconds",
                "gauge",
                "What the store took to answer just now.",
                &store,
            ),
        ];
        for (name, kind, help, value) in lines {
            let _ = write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
        out
    }

    fn render_requests(&self, out: &mut String) {
        const NAME: &str = "dothub_request_seconds";
        let _ = write!(
            out,
            "# HELP {NAME} Requests by route, method and status.\n# TYPE {NAME} histogram\n"
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (series, histogram) in requests.iter() {
            let Series {
                route,
                method,
                status,
            } = series;
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let mut below = 0;
            for (end, count) in CLASSES.iter().zip(histogram.counts) {
                below += count;
                let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"{end}\"}} {below}");
            }
            let Histogram { count, sum, .. } = histogram;
            let _ = write!(
                out,
                "{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}\n{NAME}_sum{{{labels}}} {sum}\n{NAME}_count{{{labels}}} {count}\n"
            );
        }
    }
}

/// Returns the method's name, or `other`. Clients could invent any number of methods, and each would be a new series.
fn known(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::default();
        metrics.record("GET", "/{namespace}", 200, Duration::from_millis(7));
        metrics.record("GET", "/{namespace}", 200, Duration::from_secs(100));
        metrics.record("TRACE", "none", 404, Duration::ZERO);
        metrics.pushed();
        metrics.repacked(10, 4, 2);
        let text = metrics.render(&Measured {
            users: 1,
            dots: 2,
            stored_bytes: 3,
            connections: 4,
            database: Duration::from_millis(1),
            store: None,
        });
        let labels = r#"route="/{namespace}",method="GET",status="200""#;
        for line in [
            format!(r#"dothub_request_seconds_bucket{{{labels},le="0.005"}} 0"#),
            format!(r#"dothub_request_seconds_bucket{{{labels},le="0.01"}} 1"#),
            format!(r#"dothub_request_seconds_bucket{{{labels},le="60"}} 1"#),
            format!(r#"dothub_request_seconds_bucket{{{labels},le="+Inf"}} 2"#),
            format!("dothub_request_seconds_count{{{labels}}} 2"),
            r#"dothub_request_seconds_count{route="none",method="other",status="404"} 1"#
                .to_owned(),
            "dothub_pushes_total 1".to_owned(),
            "dothub_repacked_bytes_total 10".to_owned(),
            "dothub_repacks_saved_bytes_total 6".to_owned(),
            "dothub_damaged_packs 2".to_owned(),
            "dothub_stored_bytes 3".to_owned(),
            "dothub_connections 4".to_owned(),
            "dothub_store_seconds NaN".to_owned(),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
