//! The hub's pages, one at a time and under load, with a library of 1,000 dots of 10,000 commits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::app::Size;
use crate::library::{DOTS_PER_OWNER, Library};
use crate::measure::{Metric, Table, median, seconds};

/// The number of visits of each page, each for another dot.
const VISITS: usize = 100;

/// The target for the 95th percentile of a page's time, in seconds.
const PAGE: f64 = 0.05;

/// The numbers of concurrent readers and pushers, and the duration of the load.
const READERS: usize = 200;
const PUSHERS: usize = 10;
const LOAD: Duration = Duration::from_secs(20);

/// Every page of the hub. `NEW` is the newest commit, `MIDDLE` a commit of the newer half.
const PAGES: &[(&str, &str)] = &[
    ("home", "/"),
    ("owner", "/OWNER"),
    ("dot", "/DOT"),
    ("commits", "/DOT/commits/master"),
    ("commits, further back", "/DOT/commits/master?from=MIDDLE"),
    ("commit", "/DOT/commit/MIDDLE"),
    ("files", "/DOT/tree/master"),
    ("folder", "/DOT/tree/MIDDLE/pg"),
    ("file", "/DOT/tree/MIDDLE/pg/table-07.txt"),
    ("raw file", "/DOT/raw/MIDDLE/pg/table-07.txt"),
    ("archive of a subdot", "/DOT/archive/MIDDLE/pg"),
    ("compare", "/DOT/compare/MIDDLE...NEW"),
    ("choose what to compare", "/DOT/compare"),
    ("graph", "/DOT/graph"),
    ("activity", "/DOT/activity"),
    ("settings of a dot", "/DOT/settings"),
    ("fork", "/DOT/fork"),
    (
        "search, a word of all commits",
        "/-/search?q=customers&in=commits",
    ),
    ("search, one commit", "/-/search?q=order+1234&in=commits"),
    ("search, dots", "/-/search?q=shop"),
    ("trash", "/-/trash"),
    ("offers", "/-/offers"),
    ("account", "/-/settings"),
    ("keys", "/-/settings/keys"),
    ("administration", "/-/admin"),
    ("audit log", "/-/admin/events"),
    ("log in", "/-/login"),
];

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let start = Instant::now();
    let library = Library::make(size).await?;
    let (dots, commits) = (library.dots, library.history.commits.len());
    let scene = format!("{dots} dots of {commits} commits");
    table.state(
        &format!("making a hub of {scene}"),
        Metric::Time.show(seconds(start.elapsed())),
    );
    library.hub.forget_peak()?;
    for (name, page) in PAGES {
        let mut times = Vec::with_capacity(VISITS);
        for visit in 0..VISITS {
            // Visit the dots in a scattered order.
            times.push(visit_page(&library, page, visit * 619 + 7).await?);
        }
        let (middle, most) = (median(times.clone()), percentile(times, 0.95));
        let figure = format!(
            "page: {name}, 95 of 100 (median {})",
            Metric::Time.show(middle)
        );
        table.limit(&figure, Metric::Time, most, PAGE);
    }
    let peak = library.hub.peak()?;
    let figure = format!("peak memory of `dothub` doing so, {scene}");
    table.limit(&figure, Metric::Bytes, peak, f64::from(256 << 20));
    under_load(table, &library).await
}

/// Fetches a page completely, for the dot with a number. Returns the time in seconds.
async fn visit_page(library: &Library, page: &str, number: usize) -> Result<f64> {
    let dot = number % library.dots;
    let commits = &library.history.commits;
    let half = commits.len() / 2;
    let commit = |at: usize| commits[at].id.to_string();
    let owner = library.owner_of(dot);
    let path = page
        .replace("OWNER", &owner.name)
        .replace("DOT", &library.dot(dot))
        .replace("NEW", &commit(commits.len() - 1))
        .replace("MIDDLE", &commit(half + number * 31 % half));
    let start = Instant::now();
    let answer = library
        .http
        .get(format!("{}{path}", library.hub.url))
        .bearer_auth(&owner.key)
        .send()
        .await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    let took = seconds(start.elapsed());
    ensure!(
        status.is_success() && !body.is_empty(),
        "{path}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(took)
}

/// Many readers load all kinds of pages while some users push.
async fn under_load(table: &mut Table, library: &Library) -> Result<()> {
    library.hub.forget_peak()?;
    let over = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let read = async || -> Result<Vec<f64>> {
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (_, page) = PAGES[number % PAGES.len()];
            times.push(visit_page(library, page, number * 619).await?);
        }
        Ok(times)
    };
    let push = async |number: usize| -> Result<Vec<f64>> {
        let dot = number * DOTS_PER_OWNER % library.dots + 1;
        let name = format!("app{}", dot % DOTS_PER_OWNER);
        let mut history = library.history.clone();
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let start = Instant::now();
            history.push(library.owner_of(dot), &name, 1).await?;
            times.push(seconds(start.elapsed()));
        }
        Ok(times)
    };
    let readers = futures::future::try_join_all((0..READERS).map(|_| read()));
    let pushers = futures::future::try_join_all((0..PUSHERS.min(library.owners.len())).map(push));
    let clock = async {
        tokio::time::sleep(LOAD).await;
        over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (read, pushed, ()) = futures::future::try_join3(readers, pushers, clock).await?;
    let load = format!("{READERS} readers, {} pushers", pushed.len());
    for (what, times) in [("pages", read), ("pushes", pushed)] {
        let times = times.concat();
        let rate = times.len() as f64 / seconds(LOAD);
        table.state(&format!("{load}: {what} a second"), format!("{rate:.1}"));
        let figure = format!("{load}: {what}, 95 of 100");
        table.state(&figure, Metric::Time.show(percentile(times, 0.95)));
    }
    let figure = format!("{load}: peak memory of `dothub`");
    table.limit(
        &figure,
        Metric::Bytes,
        library.hub.peak()?,
        f64::from(256 << 20),
    );
    Ok(())
}

fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values
        .get(at)
        .or(values.last())
        .copied()
        .unwrap_or_default()
}
