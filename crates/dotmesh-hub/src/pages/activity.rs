//! `/OWNER/DOT/activity`: charts of a dot's growth, and its events, newest first.

use askama::Template;
use axum::extract::State;
use dotmesh_browse::TreePath;
use dotmesh_browse::facts::{CommitFacts, SubdotFacts};
use dotmesh_hub_db::events::EventsOf;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::commit_summary::CommitSummary;
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::OpenDot;
use dotmesh_hub_service::operations::size_history::{CountedCommit, size_history};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::web::chart::{Bar, COLOURS, Chart};
use crate::web::query::Query;
use crate::web::shown_event::ShownEvent;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

const EVENTS_PER_PAGE: u32 = 50;

/// The most commits in the charts.
const COMMITS: u32 = 60;

/// The number of weeks in the chart.
const WEEKS: i64 = 52;

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    visit: Visit,
    dot: DotHeader,
    /// On the first page only, if there are at least two commits.
    growth: Option<Growth>,
    /// On the first page only.
    weeks: Option<Chart>,
    events: Vec<ShownEvent>,
    next: Option<i64>,
}

/// The charts and the table of the dot's growth.
struct Growth {
    charts: [Chart; 2],
    legend: Vec<(String, usize)>,
    rows: Vec<GrowthRow>,
    uncounted: u64,
}

struct GrowthRow {
    commit: CommitSummary,
    size: String,
    change: String,
}

impl ActivityPage {
    fn tab(&self) -> Tab {
        Tab::Activity
    }
}

/// The event before which the page begins.
#[derive(Debug, Deserialize)]
pub(crate) struct Before {
    before: Option<i64>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Query(Before { before }): Query<Before>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let of = EventsOf::Dot(open.existing()?, open.access);
    let events = hub.database.events(of, before, EVENTS_PER_PAGE).await?;
    let next = (events.len() == EVENTS_PER_PAGE as usize)
        .then(|| events.last().map(|event| event.id))
        .flatten();
    let url = dot.url();
    let events = events
        .into_iter()
        .map(|event| ShownEvent::of_dot(event, &url, open.access, dot.forked_from.as_ref()))
        .collect();
    let (growth, weeks) = match before {
        None => {
            let commits = size_history(&hub, &open, COMMITS).await?;
            let growth = (commits.len() > 1).then(|| Growth::new(commits));
            (growth, Some(weeks(&hub, &open, hub.clock.now()).await?))
        }
        Some(_) => (None, None),
    };
    render(&ActivityPage {
        visit,
        dot,
        growth,
        weeks,
        events,
        next,
    })
}

impl Growth {
    fn new(commits: Vec<CountedCommit>) -> Self {
        let colours = Colours::of(&commits);
        let bars = |amount: fn(&SubdotFacts) -> u64| {
            let bar = |CountedCommit { commit, facts }: &CountedCommit| {
                let parts = facts.as_ref().map(|facts| colours.parts(facts, amount));
                let sum = facts.as_ref().map(|facts| sum(facts, amount));
                let sum = sum.map_or(unknown(commit), show::bytes);
                Bar {
                    title: format!("{}: {sum}", commit.title),
                    parts: parts.unwrap_or_default(),
                }
            };
            commits.iter().map(bar).collect()
        };
        let time = |counted: Option<&CountedCommit>| counted.map(|counted| counted.commit.time);
        let ends = time(commits.first()).zip(time(commits.last()));
        let ends = ends.map(|(first, last)| [first, last]);
        let sizes = Chart::new("Size of each commit", bars(size), show::bytes, ends);
        let changes = Chart::new("New bytes in each commit", bars(change), show::bytes, ends);
        let uncounted = commits
            .iter()
            .filter(|counted| counted.facts.is_none() && !counted.commit.without_data);
        let uncounted = uncounted.count() as u64;
        let rows = commits.into_iter().map(|CountedCommit { commit, facts }| {
            let sum = |amount| {
                let sum = facts.as_ref().map(|facts| sum(facts, amount));
                sum.map_or(unknown(&commit), show::bytes)
            };
            let change = match &facts {
                Some(facts) if facts.change_unknown => "not known".to_owned(),
                _ => sum(change),
            };
            GrowthRow {
                size: sum(size),
                change,
                commit,
            }
        });
        Self {
            charts: [sizes, changes],
            rows: rows.collect(),
            legend: colours.legend(),
            uncounted,
        }
    }
}

/// Returns the reason why a commit has no size.
fn unknown(commit: &CommitSummary) -> String {
    match commit.without_data {
        true => "no data on the hub".to_owned(),
        false => "not counted yet".to_owned(),
    }
}

fn size(subdot: &SubdotFacts) -> u64 {
    subdot.now.bytes
}

fn change(subdot: &SubdotFacts) -> u64 {
    subdot.change.new_bytes
}

fn sum(facts: &CommitFacts, amount: fn(&SubdotFacts) -> u64) -> u64 {
    let amounts = facts.subdots.iter().map(amount);
    amounts.fold(0, u64::saturating_add)
}

/// The colours of subdots. The largest subdots have a colour each, and all others share the last colour.
struct Colours {
    names: Vec<TreePath>,
    has_others: bool,
}

impl Colours {
    fn of(commits: &[CountedCommit]) -> Self {
        let mut sizes: Vec<(&TreePath, u64)> = Vec::new();
        let facts = commits.iter().filter_map(|commit| commit.facts.as_ref());
        for subdot in facts.flat_map(|facts| &facts.subdots) {
            match sizes.iter_mut().find(|(name, _)| *name == &subdot.name) {
                Some((_, most)) => *most = size(subdot).max(*most),
                None => sizes.push((&subdot.name, size(subdot))),
            }
        }
        sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        let has_others = sizes.len() > COLOURS;
        let own = if has_others { COLOURS - 1 } else { COLOURS };
        let names = sizes.into_iter().take(own);
        Self {
            names: names.map(|(name, _)| name.clone()).collect(),
            has_others,
        }
    }

    fn parts(&self, facts: &CommitFacts, amount: fn(&SubdotFacts) -> u64) -> Vec<(u64, usize)> {
        let mut parts: Vec<(u64, usize)> = (0..COLOURS).map(|colour| (0, colour)).collect();
        for subdot in &facts.subdots {
            let own = self.names.iter().position(|name| *name == subdot.name);
            let part = &mut parts[own.unwrap_or(COLOURS - 1)].0;
            *part = part.saturating_add(amount(subdot));
        }
        parts
    }

    fn legend(&self) -> Vec<(String, usize)> {
        let names = self.names.iter().map(TreePath::to_string);
        let others = self.has_others.then(|| "others".to_owned());
        let others = others.map(|name| (name, COLOURS - 1));
        names.zip(0..).chain(others).collect()
    }
}

/// Returns the chart of events in each of the last weeks.
async fn weeks(hub: &Hub, open: &OpenDot, now: Timestamp) -> Result<Chart, HttpError> {
    let from = now - SignedDuration::from_hours(WEEKS * 7 * 24);
    let (id, access) = (open.existing()?, open.access);
    let counts = hub.database.events_by_week(id, access, from).await?;
    let bars = (0..WEEKS).map(|week| {
        let known = counts.iter().find(|(number, _)| *number == week);
        let count = known.map_or(0, |(_, count)| *count);
        let start = from + SignedDuration::from_hours(week * 7 * 24);
        Bar {
            title: format!("Week from {}: {count}", start.strftime("%Y-%m-%d")),
            parts: vec![(count, 0)],
        }
    });
    let in_words = |count| show::count(count, "event");
    Ok(Chart::new(
        "By week, in the last year",
        bars.collect(),
        in_words,
        Some([from, now]),
    ))
}
