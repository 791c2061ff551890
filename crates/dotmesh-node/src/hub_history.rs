//! A dot's history as hubs reported it. It is kept in the pool, so that commits without local data outlive the
//! registry.

use std::collections::{BTreeMap, HashSet};

use dotmesh_api::hub::SealedCommit;
use dotmesh_api::node::Source;
use dotmesh_model::{CommitId, CommitRecord, DotIdentity, DotName};
use serde::{Deserialize, Serialize};

use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{NewCommit, Seal};

/// Commits that hubs have, each verified by its seal when it was received, and which hub dots belong to this dot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HubHistory {
    commits: BTreeMap<CommitId, HubCommit>,
    /// One entry per name. The last one that was learnt is at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dots: Vec<KnownDot>,
}

/// A commit, and the hub that has its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HubCommit {
    #[serde(flatten)]
    pub(crate) sealed: SealedCommit,
    #[serde(flatten)]
    pub(crate) source: Source,
    /// The identity of the hub's dot. It stays when the dot is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<DotIdentity>,
}

/// The identity of the dot that has a name on a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownDot {
    #[serde(flatten)]
    place: Source,
    identity: DotIdentity,
}

impl HubHistory {
    /// Reads the stored history. If it is unreadable, it is empty, and the next pull fills it again.
    pub(crate) async fn load(node: &Node, dot: &DotName) -> Result<Self, NodeError> {
        let Some(bytes) = node.pool.hub_history(dot).await? else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%dot, %error, "the dot's history from hubs cannot be read");
            Self::default()
        }))
    }

    /// Writes the history durably.
    pub(crate) async fn save(&self, node: &Node, dot: &DotName) -> Result<(), NodeError> {
        let bytes = serde_json::to_vec(self).expect("a history has only string keys");
        Ok(node.pool.write_hub_history(dot, bytes).await?)
    }

    /// Adds a commit. Returns `false` if it replaced an entry.
    pub(crate) fn add(&mut self, id: CommitId, commit: HubCommit) -> bool {
        self.commits.insert(id, commit).is_none()
    }

    /// A commit that a hub reported.
    pub(crate) fn get(&self, id: CommitId) -> Option<&HubCommit> {
        self.commits.get(&id)
    }

    /// The identity of the dot that has a name on a hub.
    pub(crate) fn identity(&self, hub: &str, name: &DotName) -> Option<DotIdentity> {
        let mut dots = self.dots.iter();
        let known = dots.find(|known| known.place.hub == hub && known.place.dot == *name);
        known.map(|known| known.identity)
    }

    /// The name of a hub's dot when it was last reported.
    pub(crate) fn name(&self, hub: &str, identity: DotIdentity) -> Option<&DotName> {
        let mut dots = self.dots.iter();
        let known = dots.rfind(|known| known.place.hub == hub && known.identity == identity);
        known.map(|known| &known.place.dot)
    }

    /// Whether this dot belongs to the hub's dot.
    pub(crate) fn knows(&self, hub: &str, identity: DotIdentity) -> bool {
        self.name(hub, identity).is_some()
    }

    /// Whether `learn` would change nothing.
    pub(crate) fn has_learnt(
        &self,
        hub: &str,
        asked: &DotName,
        name: &DotName,
        identity: DotIdentity,
    ) -> bool {
        self.identity(hub, asked) == Some(identity) && self.name(hub, identity) == Some(name)
    }

    /// Stores the identity and present name of the dot that was found under the name `asked`. Returns `false` if both
    /// were known.
    pub(crate) fn learn(
        &mut self,
        hub: &str,
        asked: &DotName,
        name: &DotName,
        identity: DotIdentity,
    ) -> bool {
        if self.has_learnt(hub, asked, name, identity) {
            return false;
        }
        for dot in [asked, name] {
            self.forget(hub, dot);
            let (hub, dot) = (hub.to_owned(), dot.clone());
            let place = Source { hub, dot };
            self.dots.push(KnownDot { place, identity });
        }
        true
    }

    /// Forgets the identity behind a name. Returns `false` if it was not known.
    pub(crate) fn forget(&mut self, hub: &str, name: &DotName) -> bool {
        let before = self.dots.len();
        self.dots
            .retain(|known| known.place.hub != hub || known.place.dot != *name);
        self.dots.len() < before
    }

    /// Stores which commits of a hub's dot have no data on the hub. Returns `false` if nothing changed.
    pub(crate) fn note_without_data(
        &mut self,
        place: &Source,
        without: &HashSet<CommitId>,
    ) -> bool {
        let mut is_news = false;
        for (id, commit) in &mut self.commits {
            let told = without.contains(id);
            if commit.source == *place && commit.sealed.without_data != told {
                commit.sealed.without_data = told;
                is_news = true;
            }
        }
        is_news
    }

    /// All reported commits.
    pub(crate) fn ids(&self) -> impl Iterator<Item = CommitId> + '_ {
        self.commits.keys().copied()
    }
}

impl HubCommit {
    /// The registry's entry of the commit while its data is not here.
    pub(crate) fn absent(&self) -> Result<NewCommit, NodeError> {
        let record = CommitRecord::decode(self.sealed.record.as_bytes())?;
        Ok(NewCommit {
            id: record.id,
            parent: record.parent,
            record: self.sealed.record.clone().into_bytes(),
            seal: Some(self.seal()),
            source: Some(self.source.clone()),
            left_out: self.sealed.left_out.clone(),
        })
    }

    /// The commit's seal. Hubs don't report hard links, so it may have some.
    pub(crate) fn seal(&self) -> Seal {
        Seal {
            seal: self.sealed.seal,
            root: self.sealed.root,
            links: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_bytes!("../../../testdata/v1/pool/hub-history.json");
        let history: HubHistory = serde_json::from_slice(kept).expect("a history");
        let written = serde_json::to_value(&history).expect("JSON");
        let whole: serde_json::Value = serde_json::from_slice(kept).expect("JSON");
        assert_eq!(written, whole, "nothing is lost, nothing is unknown");
        for id in history.ids() {
            let commit = history.get(id).expect("a commit");
            let absent = commit.absent().expect("its record can be read");
            assert_eq!(absent.id, id);
            assert_eq!(absent.seal.map(|seal| seal.seal), Some(commit.sealed.seal));
            assert_eq!(commit.source.hub, "https://hub.example.com");
        }
        assert_eq!(history.ids().count(), 3);
    }

    #[test]
    fn a_dot_is_known_by_all_its_names_and_called_by_the_last() {
        const HUB: &str = "https://hub.example.com";
        let name = |text: &str| -> DotName { text.parse().expect("a name") };
        let (app, shop) = (name("alice/app"), name("alice/shop"));
        let [one, two] = [1, 2].map(|byte| DotIdentity::from_bytes([byte; 16]));
        let mut history = HubHistory::default();
        assert!(history.learn(HUB, &app, &app, one));
        assert!(!history.learn(HUB, &app, &app, one));
        assert!(history.learn(HUB, &app, &shop, one));
        assert_eq!(history.identity(HUB, &app), Some(one));
        assert_eq!(history.identity(HUB, &shop), Some(one));
        assert_eq!(history.name(HUB, one), Some(&shop));
        assert_eq!(history.identity("https://other.example.com", &app), None);

        // The history survives its file format.
        let file = serde_json::to_vec(&history).expect("JSON");
        let mut history: HubHistory = serde_json::from_slice(&file).expect("a history");
        // The user says that another dot has the first name now.
        assert!(history.forget(HUB, &app));
        assert!(!history.forget(HUB, &app));
        assert!(history.learn(HUB, &app, &app, two));
        assert_eq!(history.identity(HUB, &app), Some(two));
        assert_eq!(history.name(HUB, one), Some(&shop));
        // A dot takes an earlier name again.
        assert!(history.learn(HUB, &shop, &app, one));
        assert_eq!(history.identity(HUB, &app), Some(one));
        assert_eq!(history.name(HUB, one), Some(&app));
        assert!(!history.knows(HUB, two));
    }
}
