//! The state of the router. It is a type of this crate, so that extractors can be implemented for the types of services.

use std::ops::Deref;

use axum::extract::FromRef;
use dotmesh_hub_service::Hub;

/// The hub, for extractors. Routes take it as `State<Hub>`.
#[derive(Clone)]
pub(crate) struct RouterState(pub(crate) Hub);

impl Deref for RouterState {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.0
    }
}

impl FromRef<RouterState> for Hub {
    fn from_ref(RouterState(hub): &RouterState) -> Self {
        hub.clone()
    }
}
