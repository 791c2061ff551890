//! Tells the pages of a dot that something happened to the dot, in whichever process it happened.
//!
//! While a process has listeners, it polls the database for new events every second, once for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dotmesh_hub_db::ids::DotId;
use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_hub_model::limits::LISTENERS;
use tokio::sync::{broadcast, watch};

use crate::rate_limit::Subject;
use crate::turns::{Turn, Turns};

/// The events that a slow listener may be behind. Beyond that, it misses events and checks the database itself.
const BACKLOG: usize = 256;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The listeners of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    changes: broadcast::Sender<DotId>,
    places: Turns,
    is_polling: Arc<AtomicBool>,
    closing: watch::Sender<bool>,
}

/// A listener. It holds its turn until it is dropped.
#[derive(Debug)]
pub struct Listener {
    changes: broadcast::Receiver<DotId>,
    closing: watch::Receiver<bool>,
    _place: Turn,
}

/// An event for a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Something may have happened to the dot.
    Change,
    /// The hub stops.
    End,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            changes: broadcast::Sender::new(BACKLOG),
            places: Turns::of(&LISTENERS),
            is_polling: Arc::default(),
            closing: watch::Sender::new(false),
        }
    }
}

impl Live {
    /// Registers a listener. Returns `None` if there are too many, in total or of this subject.
    pub async fn listen(
        &self,
        database: &Database,
        subject: &Subject,
    ) -> Result<Option<Listener>, DatabaseError> {
        let Some(place) = self.places.try_take(subject, 1) else {
            return Ok(None);
        };
        let listener = Listener {
            changes: self.changes.subscribe(),
            closing: self.closing.subscribe(),
            _place: place,
        };
        if !self.is_polling.swap(true, Ordering::SeqCst) {
            // Read the last event's number before the listener looks, so that it hears of every later event.
            let last = match database.changed_dots(i64::MAX).await {
                Ok((last, _)) => last,
                Err(error) => {
                    self.is_polling.store(false, Ordering::SeqCst);
                    return Err(error);
                }
            };
            let (live, database) = (self.clone(), database.clone());
            tokio::spawn(async move { live.poll(&database, last).await });
        }
        Ok(Some(listener))
    }

    /// Ends all listeners, because the hub stops.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    async fn poll(&self, database: &Database, mut last: i64) {
        let mut closing = self.closing.subscribe();
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
            if self.changes.receiver_count() == 0 {
                self.is_polling.store(false, Ordering::SeqCst);
                // A listener may have registered before it could see the change of `is_polling`.
                if self.changes.receiver_count() == 0
                    || self.is_polling.swap(true, Ordering::SeqCst)
                {
                    return;
                }
            }
            match database.changed_dots(last).await {
                Ok((newest, dots)) => {
                    last = newest;
                    for dot in dots {
                        // Fails if all listeners have gone.
                        let _ = self.changes.send(dot);
                    }
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "cannot look for new events");
                }
            }
        }
    }
}

impl Listener {
    /// Waits until something may have happened to a dot.
    pub async fn hear(&mut self, dot: DotId) -> Heard {
        loop {
            tokio::select! {
                _ = self.closing.wait_for(|closing| *closing) => return Heard::End,
                changed = self.changes.recv() => match changed {
                    Ok(changed) if changed != dot => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return Heard::Change,
                    Err(broadcast::error::RecvError::Closed) => return Heard::End,
                },
            }
        }
    }
}
