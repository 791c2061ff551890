//! The hub that a request to the node is about, and the account to use there.

use dotmesh_model::UserName;
use serde::{Deserialize, Serialize};

/// A hub, and the account to use there. The node uses the secret for this request only, and does not store
/// it, except after a push with `rows`: until the last database summary is sent or given up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubLogin {
    /// The address, in the format of [`crate::HubAddress`].
    pub address: String,
    /// The account. Without one, public dots can be read.
    #[serde(flatten)]
    pub account: Option<HubAccount>,
}

/// An account on a hub. Its `Debug` output hides the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubAccount {
    /// The account's name.
    pub user: UserName,
    /// The API key or password.
    #[cfg_attr(feature = "openapi", schema(format = Password))]
    pub secret: String,
}

impl std::fmt::Debug for HubAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HubAccount({})", self.user)
    }
}
