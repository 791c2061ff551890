//! `/OWNER/DOT/graph`: the newest commits of all branches, drawn as a graph.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::commit_graph::{self, Placed};
use dotmesh_model::{BranchName, CommitId};
use jiff::Timestamp;

use crate::extract::DotPath;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

/// The most commits that are drawn.
const MAX_COMMITS: u32 = 300;

/// The most branches, and the most tags, that are shown at a commit.
const MAX_NAMES: u32 = 5;

/// The height of a row, as in the style sheet.
const ROW_HEIGHT: usize = 40;

/// The width of a lane.
const LANE_WIDTH: usize = 20;

/// The number of colours in the style sheet.
const COLOURS: usize = 6;

#[derive(Template)]
#[template(path = "graph.html")]
struct GraphPage {
    visit: Visit,
    dot: DotHeader,
    rows: Vec<Row>,
    edges: Vec<Edge>,
    width: usize,
    height: usize,
    is_cut: bool,
}

struct Row {
    id: CommitId,
    title: String,
    author: String,
    time: Timestamp,
    without_data: bool,
    branches: Vec<BranchName>,
    tags: Vec<BranchName>,
    x: usize,
    y: usize,
    colour: usize,
}

struct Edge {
    path: String,
    colour: usize,
}

impl GraphPage {
    fn tab(&self) -> Tab {
        Tab::Graph
    }
}

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let commits = hub.database.newest_commits(id, MAX_COMMITS).await?;
    let ids: Vec<CommitId> = commits.iter().map(|commit| commit.commit.id).collect();
    let mut branches = hub.database.branches_at(id, &ids, MAX_NAMES).await?;
    let mut tags = hub.database.tags_at(id, &ids, MAX_NAMES).await?;
    let is_cut = commits.len() == MAX_COMMITS as usize;
    let default = hub.database.branch_head(id, &dot.default_branch).await?;
    let placed = commit_graph::place(commits, default);
    let lanes = placed.iter().map(|placed| placed.lane + 1).max();
    let edges = edges(&placed);
    let rows: Vec<Row> = placed
        .into_iter()
        .enumerate()
        .map(|(n, placed)| Row {
            x: x(placed.lane),
            y: y(n),
            colour: placed.lane % COLOURS,
            branches: branches.remove(&placed.commit.id).unwrap_or_default(),
            tags: tags.remove(&placed.commit.id).unwrap_or_default(),
            id: placed.commit.id,
            title: placed.commit.title,
            author: placed.commit.author,
            time: placed.commit.time,
            without_data: placed.commit.without_data,
        })
        .collect();
    render(&GraphPage {
        visit,
        dot,
        width: (lanes.unwrap_or(0) + 1) * LANE_WIDTH,
        height: rows.len() * ROW_HEIGHT,
        rows,
        edges,
        is_cut,
    })
}

fn x(lane: usize) -> usize {
    (lane + 1) * LANE_WIDTH
}

fn y(row: usize) -> usize {
    row * ROW_HEIGHT + ROW_HEIGHT / 2
}

/// Returns a line from each commit down to its parent. It stays in the commit's lane down to the row above the parent.
fn edges(placed: &[Placed]) -> Vec<Edge> {
    let line = |(n, child): (usize, &Placed)| {
        let parent = child.parent_row?;
        let (from, to) = (x(child.lane), x(placed[parent].lane));
        let (top, bottom) = (y(n), y(parent));
        let bend = bottom - ROW_HEIGHT / 2;
        Some(Edge {
            path: format!(
                "M{from} {top} V{} C{from} {bottom} {to} {bend} {to} {bottom}",
                bottom - ROW_HEIGHT
            ),
            colour: child.lane % COLOURS,
        })
    };
    placed.iter().enumerate().filter_map(line).collect()
}
