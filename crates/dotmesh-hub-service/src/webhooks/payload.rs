//! The payload of a delivery, which `docs/hub.md` documents. Each attempt builds it anew, with the same content.

use dotmesh_hub_db::events::PastEvent;
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::show;
use serde_json::{Value, json};

/// Returns the event's name in the payload. Empty for events that no webhook is told of.
pub fn kind(event: &EventKind) -> &'static str {
    match event {
        EventKind::Push { .. } => "push",
        EventKind::CreateBranch { .. } => "branch.created",
        EventKind::DeleteBranch { .. } => "branch.deleted",
        EventKind::DefaultBranch { .. } => "branch.made_default",
        EventKind::Protect {
            protected: true, ..
        } => "branch.protected",
        EventKind::Protect {
            protected: false, ..
        } => "branch.unprotected",
        EventKind::CreateTag { .. } => "tag.created",
        EventKind::DeleteTag { .. } => "tag.deleted",
        EventKind::Grant { .. } => "access.granted",
        EventKind::Revoke { .. } => "access.revoked",
        EventKind::Publish => "dot.published",
        EventKind::Unpublish => "dot.unpublished",
        EventKind::Rename { .. } => "dot.renamed",
        EventKind::Offer { .. } => "dot.offered",
        EventKind::RestoreDot => "dot.restored",
        EventKind::PingWebhook { .. } => "ping",
        _ => "",
    }
}

/// Returns the body of a delivery. Links begin with the hub's address.
pub fn body(event: &PastEvent, hub_url: &str) -> String {
    let name = event.dot.as_ref().map(dotmesh_model::DotName::full);
    let name = name.unwrap_or_default();
    let url = format!("{hub_url}/{name}");
    let mut data = json!({
        "actor": event.actor,
        "dot": { "name": name, "url": url },
    });
    if let (Value::Object(data), Value::Object(detail)) = (&mut data, detail(&event.kind, &url)) {
        data.extend(detail);
    }
    json!({
        "type": kind(&event.kind),
        "timestamp": show::iso(&event.time),
        "data": data,
    })
    .to_string()
}

fn detail(event: &EventKind, url: &str) -> Value {
    match event {
        EventKind::Push {
            branches,
            commits,
            filled,
        } => {
            let branches = branches.iter().map(|branch| {
                json!({
                    "name": branch.name,
                    "head": branch.head,
                    "is_new": branch.is_new,
                    "replaced": branch.replaced,
                    "url": format!("{url}/commit/{}", branch.head),
                })
            });
            json!({
                "commits": commits,
                "filled": filled,
                "branches": branches.collect::<Vec<_>>(),
            })
        }
        EventKind::CreateBranch { branch, head } | EventKind::DeleteBranch { branch, head } => {
            json!({ "branch": branch, "head": head, "url": format!("{url}/commit/{head}") })
        }
        EventKind::DefaultBranch { branch } | EventKind::Protect { branch, .. } => {
            json!({ "branch": branch, "url": format!("{url}/commits/{}", branch.spelling()) })
        }
        EventKind::CreateTag { tag, commit } | EventKind::DeleteTag { tag, commit } => {
            json!({ "tag": tag, "commit": commit, "url": format!("{url}/commit/{commit}") })
        }
        EventKind::Grant { user, access } => json!({ "user": user, "access": access }),
        EventKind::Revoke { user } | EventKind::Offer { user } => json!({ "user": user }),
        EventKind::Rename { from } => json!({ "from": from.full() }),
        EventKind::PingWebhook { webhook } => json!({ "webhook": webhook.to_string() }),
        _ => json!({}),
    }
}
