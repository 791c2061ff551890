//! What hubs reported of a dot: its history, and where its branches were. It is kept in the pool, so that commits without
//! local data outlive the registry.

use std::collections::{BTreeMap, HashSet};

use dotmesh_api::hub::SealedCommit;
use dotmesh_api::node::Source;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotIdentity, DotName};
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
    /// One for each dot of a hub whose branches were seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<SeenDot>,
}

/// Where the branches of a dot on a hub were when this node last heard of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenDot {
    /// What it was called then.
    #[serde(flatten)]
    pub(crate) place: Source,
    /// Which dot it is, unless the hub is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<DotIdentity>,
    pub(crate) heads: BTreeMap<BranchName, CommitId>,
}

impl SeenDot {
    fn is(&self, place: &Source, identity: Option<DotIdentity>) -> bool {
        match (self.identity, identity) {
            (Some(one), Some(other)) => one == other && self.place.hub == place.hub,
            _ => self.place == *place,
        }
    }
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

    /// Where a branch of a dot on a hub was seen last.
    pub(crate) fn seen_head(
        &self,
        place: &Source,
        identity: Option<DotIdentity>,
        branch: &BranchName,
    ) -> Option<CommitId> {
        let seen = self.seen.iter().find(|seen| seen.is(place, identity))?;
        seen.heads.get(branch).copied()
    }

    /// The dots of hubs whose branches were seen.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &SeenDot> {
        self.seen.iter()
    }

    /// Keeps where branches of a dot on a hub are, and, if `all` are given, that it has no others. `false` when that was
    /// known.
    pub(crate) fn see(
        &mut self,
        place: &Source,
        identity: Option<DotIdentity>,
        heads: BTreeMap<BranchName, CommitId>,
        all: bool,
    ) -> bool {
        let known = self.seen.iter().position(|seen| seen.is(place, identity));
        let before = known.map(|known| self.seen.remove(known));
        let mut now = SeenDot {
            place: place.clone(),
            identity,
            heads,
        };
        if let Some(before) = &before {
            now.identity = now.identity.or(before.identity);
            if !all {
                let mut heads = before.heads.clone();
                heads.append(&mut now.heads);
                now.heads = heads;
            }
        }
        let is_news = before.as_ref() != Some(&now);
        self.seen.push(now);
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
    fn the_heads_of_a_dot_on_a_hub_are_those_that_were_seen_last() {
        const HUB: &str = "https://hub.example.com";
        let place = |name: &str| Source {
            hub: HUB.to_owned(),
            dot: name.parse().expect("a name"),
        };
        let branch = |name: &str| -> BranchName { name.parse().expect("a name") };
        let [one, two] = [1, 2].map(|byte| CommitId::from_bytes([byte; 16]));
        let id = Some(DotIdentity::from_bytes([1; 16]));
        let (app, shop, master) = (place("alice/app"), place("alice/shop"), branch("master"));
        let mut history = HubHistory::default();
        let heads = BTreeMap::from([(master.clone(), one), (branch("old"), one)]);
        assert!(history.see(&app, id, heads.clone(), true));
        assert!(!history.see(&app, id, heads, false));
        // The others stay, also under another name of the dot.
        assert!(history.see(&shop, id, BTreeMap::from([(master.clone(), two)]), false));
        assert_eq!(history.seen_head(&shop, id, &master), Some(two));
        assert_eq!(history.seen_head(&app, id, &branch("old")), Some(one));
        let other = Some(DotIdentity::from_bytes([2; 16]));
        assert_eq!(history.seen_head(&shop, other, &master), None);
        let file = serde_json::to_vec(&history).expect("JSON");
        let mut history: HubHistory = serde_json::from_slice(&file).expect("a history");
        // All are given, so the other is gone.
        assert!(history.see(&shop, id, BTreeMap::from([(master.clone(), two)]), true));
        assert_eq!(history.seen_head(&shop, id, &branch("old")), None);
        assert_eq!(history.seen().count(), 1);
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
