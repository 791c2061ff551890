//! What users do to containers, and what happens to the Engine.

use super::{World, lock};
use crate::engine::{Change, EngineError, Inspected, State};

impl World {
    /// A user's `docker start`.
    pub(crate) async fn start_by_hand(&self, name: &str) -> Result<(), EngineError> {
        self.going_on(name, |world, id| async move { world.do_start(&id).await })
            .await
    }

    /// A user's `docker stop`.
    pub(crate) async fn stop_by_hand(&self, name: &str) {
        let _ = self.do_stop(name).await;
    }

    /// A user's `docker rm -f`.
    pub(crate) async fn remove_by_hand(&self, name: &str) {
        let _ = self.do_stop(name).await;
        lock(&self.inner).containers.remove(name);
    }

    /// Simulates that the Engine is killed and started again. No container runs or is being started afterwards.
    pub(crate) async fn restart_engine(&self) {
        self.restart(Vec::new()).await;
    }

    /// The same, and the next inspection does not reach it. It leaves the one after that unanswered, as an Engine does
    /// that listens already, but is not ready.
    pub(crate) async fn restart_engine_slowly(&self) {
        let away = EngineError::Unreachable("connection refused".to_owned());
        self.restart(vec![Ok(Vec::new()), Err(away)]).await;
    }

    async fn restart(&self, coming_back: Vec<Result<Vec<Inspected>, EngineError>>) {
        let listeners = {
            let mut inner = lock(&self.inner);
            for one in inner.containers.values_mut() {
                one.mounts.clear();
                one.starting = false;
                if one.details.container.state.is_active() {
                    one.details.container.state = State::Exited;
                }
            }
            inner.coming_back = coming_back;
            inner.listeners.clone()
        };
        for listener in listeners {
            let _ = listener.send(Change::Connected(crate::node::now())).await;
        }
    }
}
