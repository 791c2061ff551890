//! `dm diff --rows`: compares the rows of two states.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use dotmesh_api::ErrorBody;
use dotmesh_api::node::{DiffRows, DiffRowsEvent};
use dotmesh_model::CommitId;
use dotmesh_rows::RowsError;
use dotmesh_rows::blocks::Pair;
use dotmesh_rows::compare::{Options, Quick, compare};
use dotmesh_rows::model::{DatabaseKind, DatabasePath, DiffEvent, Store};
use dotmesh_sync::Look;
use tokio::sync::mpsc;

use super::{
    Lines, Opened, State, Within, blocking, cache, chosen, find, longest, no_store, parse, quick,
    told, unless_left,
};
use crate::error::NodeError;
use crate::events::{self, line};
use crate::node::Node;
use crate::view::At;

/// Starts to compare, and responds with the events. A mistake in the request is an error at once.
pub(crate) async fn start(node: Node, at: At, request: DiffRows) -> Result<Response, NodeError> {
    Ok(events::answer(begin(node, at, request).await?))
}

/// Starts to compare. The events come as lines, or all at once if the result is known.
pub(super) async fn begin(
    node: Node,
    at: At,
    request: DiffRows,
) -> Result<mpsc::Receiver<Bytes>, NodeError> {
    let view = node.settled_view(&at).await?;
    let target = parse(request.target.as_deref())?;
    let from = match &request.from {
        Some(text) => find(&node, &view, text).await?,
        None => view.head()?,
    };
    let to = match &request.to {
        Some(text) => Some(find(&node, &view, text).await?),
        None => None,
    };
    let place = to.map(|to| cache::place(&node, &view.id, from, to, &request));
    if let Some(place) = &place
        && let Some(known) = place.get().await
    {
        let (sender, answer) = mpsc::channel(1);
        let _ = sender.try_send(known);
        return Ok(answer);
    }
    let old = State::open(&node, &view, Some(from), target.as_ref()).await?;
    let new = State::open(&node, &view, to, target.as_ref()).await?;
    let states = Arc::new((old, new));
    let pairs = pairs(&states, target.as_ref());
    if pairs.is_empty() {
        let all: Vec<_> = states.0.stores.iter().chain(&states.1.stores).collect();
        return Err(no_store(target.as_ref(), &all, &states.1));
    }
    let (sender, answer) = mpsc::channel(16);
    let (lines, states) = (Lines { sender }, Arc::clone(&states));
    let comparison = Comparison {
        node,
        states,
        lines,
        request,
    };
    tokio::spawn(comparison.run(from, to, pairs, place));
    Ok(answer)
}

/// A store of both states.
struct Both {
    old: Option<Store>,
    new: Option<Store>,
    within: Within,
}

fn pairs(states: &(State, State), target: Option<&DatabasePath>) -> Vec<Both> {
    let mut old = chosen(&states.0.stores, target);
    let mut both = Vec::new();
    for (store, within) in chosen(&states.1.stores, target) {
        let was = old.iter().position(|(was, _)| was.is_same(&store));
        both.push(Both {
            old: was.map(|place| old.remove(place).0),
            new: Some(store),
            within,
        });
    }
    both.extend(old.into_iter().map(|(store, within)| Both {
        old: Some(store),
        new: None,
        within,
    }));
    both
}

struct Comparison {
    node: Node,
    states: Arc<(State, State)>,
    lines: Lines,
    request: DiffRows,
}

impl Comparison {
    async fn run(
        self,
        from: CommitId,
        to: Option<CommitId>,
        pairs: Vec<Both>,
        place: Option<cache::Place>,
    ) {
        let mut collected = cache::Collected::default();
        let states = line(&DiffRowsEvent::States { from, to });
        collected.add(&states);
        let _ = self.lines.sender.send(states).await;
        let mut is_whole = true;
        for both in pairs {
            match self.compare(both, collected).await {
                Ok((done, had_problem)) => {
                    collected = done;
                    is_whole &= !had_problem;
                }
                Err(error) => {
                    let failed = DiffRowsEvent::Failed(told("cannot compare", &error));
                    self.lines.tell(&failed).await;
                    return;
                }
            }
        }
        let done = line(&DiffRowsEvent::Done {});
        collected.add(&done);
        let _ = self.lines.sender.send(done).await;
        // A problem may be gone the next time, for instance when an image was pulled.
        if let Some(place) = place.filter(|_| is_whole) {
            place.put(collected).await;
        }
    }

    /// Compares a store. A problem with it does not keep others from being compared.
    async fn compare(
        &self,
        both: Both,
        mut collected: cache::Collected,
    ) -> Result<(cache::Collected, bool), RowsError> {
        if self.is_untouched(&both).await {
            return Ok((collected, false));
        }
        let (old, new) = tokio::select! {
            opened = futures::future::join(
                self.open(&self.states.0, both.old.as_ref()),
                self.open(&self.states.1, both.new.as_ref()),
            ) => opened,
            () = self.lines.sender.closed() => return Err(RowsError::Cancelled),
        };
        let (old, new) = match (old, new) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(error), _) | (_, Err(error)) => {
                let store = both.new.as_ref().or(both.old.as_ref());
                let body = ErrorBody::from(error);
                let hint = body
                    .hint
                    .map(|hint| format!(" ({hint})"))
                    .unwrap_or_default();
                let problem = DiffEvent::Problem {
                    what: store.map(Store::address).unwrap_or_default(),
                    why: format!("{}{hint}", body.message),
                };
                let problem = line(&DiffRowsEvent::Change(problem));
                let sent = self.lines.sender.send(problem).await;
                sent.map_err(|_| RowsError::Cancelled)?;
                return Ok((collected, true));
            }
        };
        let (lines, states) = (self.lines.clone(), Arc::clone(&self.states));
        let options = Options {
            database: both.within.0,
            table: both.within.1,
            limit: self.request.limit,
            longest: longest(self.request.longest),
        };
        let full = self.request.full;
        let (node, handle) = (self.node.clone(), tokio::runtime::Handle::current());
        let enders = [&old, &new]
            .into_iter()
            .flatten()
            .filter_map(Opened::ender)
            .collect();
        let comparing = blocking(move || {
            let Some(store) = both.new.as_ref().or(both.old.as_ref()) else {
                return Ok((collected, false));
            };
            let adapter =
                |opened: &Option<Opened>| opened.as_ref().map(|opened| Arc::clone(&opened.adapter));
            let (of_old, of_new) = (adapter(&old), adapter(&new));
            let mut had_problem = false;
            let mut sink = |event: DiffEvent| {
                had_problem |= matches!(event, DiffEvent::Problem { .. });
                let line = line(&DiffRowsEvent::Change(event));
                collected.add(&line);
                lines.send_line(line)
            };
            let is_quick = store.kind == DatabaseKind::Postgres && !full;
            let sides = match (&of_old, &of_new) {
                (Some(of_old), Some(of_new)) if is_quick => {
                    quick::sides(store, (&states.0, &**of_old), (&states.1, &**of_new))?
                }
                _ => None,
            };
            let hints = quick::Extents::new(&states, store);
            if sides.is_some() {
                // The pool sees what was written only then.
                let flushed = handle.block_on(node.pool.flush());
                flushed.map_err(|error| RowsError::Client(error.to_string()))?;
            }
            let pair = match &sides {
                Some((old, new)) => Some(Pair::new(old, new, &hints)?),
                None => None,
            };
            let quick = pair.as_ref().map(|pair| pair as &dyn Quick);
            compare(
                store,
                of_old.as_deref(),
                of_new.as_deref(),
                &options,
                quick,
                &mut sink,
            )?;
            drop((old, new));
            Ok((collected, had_problem))
        });
        unless_left(&self.lines, enders, comparing).await
    }

    async fn open(
        &self,
        state: &State,
        store: Option<&Store>,
    ) -> Result<Option<Opened>, NodeError> {
        match store {
            Some(store) => state.adapter(&self.node, store).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether nobody has written to the store's files in between.
    async fn is_untouched(&self, both: &Both) -> bool {
        let (Some(old), Some(new)) = (&both.old, &both.new) else {
            return false;
        };
        if old.kind == DatabaseKind::Sqlite {
            return false;
        }
        let (was, is) = (self.states.0.copy.data(), self.states.1.copy.data());
        let (was, is) = (was.join(old.address()), is.join(new.address()));
        let compared = blocking(move || dotmesh_sync::compare(&was, &is, Look::AtTimes));
        compared.await.is_ok_and(|changes| changes.is_empty())
    }
}
