//! The wire types of a dot's webhooks, through which a hub reports events.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A group of events that a webhook can receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookTopic {
    /// Pushes.
    Push,
    /// Branches that are made, by a push too, deleted, protected, or become the default.
    Branch,
    /// Tags that are made or deleted.
    Tag,
    /// Who may see the dot and do what with it, and what it is called.
    Access,
}

impl WebhookTopic {
    /// All topics.
    pub const ALL: [Self; 4] = [Self::Push, Self::Branch, Self::Tag, Self::Access];

    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::Access => "access",
        }
    }
}

impl std::str::FromStr for WebhookTopic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        Self::ALL
            .into_iter()
            .find(|topic| topic.as_str() == text)
            .ok_or(UnknownTopic)
    }
}

/// A text that is no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the topics of a webhook are push, branch, tag and access")]
pub struct UnknownTopic;

/// Whether a webhook receives events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// It is.
    On,
    /// Someone switched it off, or the dot has a new owner.
    Off,
    /// The hub switched it off, as it had failed for days or asked for it.
    Failed,
}

impl WebhookState {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Failed => "failed",
        }
    }
}

/// A webhook of a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Webhook {
    /// The id, as used in addresses.
    pub id: String,
    /// The address that the hub posts to.
    pub url: String,
    /// The topics that it receives.
    pub topics: BTreeSet<WebhookTopic>,
    /// Whether it receives events.
    pub state: WebhookState,
    /// Who made it.
    pub created_by: String,
    /// When, in seconds since 1970.
    pub created: i64,
    /// Since when every attempt has failed, in seconds since 1970; null if the last one succeeded.
    pub failing_since: Option<i64>,
}

/// `POST DOT/webhooks`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// The address for POST requests, with https or http.
    pub url: String,
    /// The topics to deliver: at least one.
    pub topics: BTreeSet<WebhookTopic>,
}

/// A webhook with its new secret, which is not shown again.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookSecret {
    /// The webhook's id.
    pub id: String,
    /// The secret that signs deliveries: `whsec_` and base64.
    pub secret: String,
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookSecret({})", self.id)
    }
}

/// `PATCH DOT/webhooks/{webhook}`: a member that is absent stays unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// The address for POST requests, with https or http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The topics to deliver: at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<BTreeSet<WebhookTopic>>,
    /// Whether the webhook is on. Switching it off drops pending deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// There will be an attempt, or there is one at this moment.
    Pending,
    /// The receiver has it.
    Delivered,
    /// The last attempt failed, and there will be no other.
    Failed,
}

impl DeliveryState {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// A delivery to a webhook, sent or pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// The id, as used in addresses.
    pub id: String,
    /// The `webhook-id` of all its attempts.
    pub message: String,
    /// The kind of event, such as `tag.created`.
    pub kind: String,
    /// When the event happened, in seconds since 1970.
    pub created: i64,
    /// The state of the delivery.
    pub state: DeliveryState,
    /// The number of attempts so far.
    pub attempts: u64,
    /// When the next attempt is due, in seconds since 1970; null when there will be none.
    pub due: Option<i64>,
    /// When the last attempt ended, in seconds since 1970.
    pub attempted: Option<i64>,
    /// How long that attempt took, in milliseconds.
    pub took: Option<u64>,
    /// The HTTP status of the receiver's response.
    pub status: Option<u16>,
    /// Why that attempt failed.
    pub error: Option<String>,
    /// The beginning of the receiver's response.
    pub response: Option<String>,
}
