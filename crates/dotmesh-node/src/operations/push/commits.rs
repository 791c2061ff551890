//! Sends commits, oldest first. Each is sent as its changes, in full, or as its record alone if its data is not here.

use std::collections::{BTreeMap, HashMap, HashSet};

use dotmesh_api::hub::{BranchUpdate, SealedCommit, Upload};
use dotmesh_api::node::{SkippedSockets, Source};
use dotmesh_model::{CommitId, CommitRecord, DotIdentity, History, LeftOut, ObjectHash};
use dotmesh_sync::{Limits, Push, SealError, SealedBase, is_about_deltas};

use super::{HubState, Stays};
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::node::random_hex;
use crate::operations::left_out;
use crate::operations::transfer::{Connection, Job};
use crate::operations::upstream::Upstream;
use crate::registry::{Dot, Seal};

/// The commits to send, oldest first, with the seals that are needed.
pub(super) struct Commits<'a> {
    upstream: &'a Upstream,
    dot: &'a Dot,
    ids: &'a [CommitId],
    local: &'a History,
    hub: &'a HubState,
    /// The dot's commits whose data is not here.
    absent: &'a BTreeMap<CommitId, Source>,
    /// The known seals.
    seals: HashMap<CommitId, Seal>,
    /// The seals of parents, as read from the hub.
    parents: HashMap<CommitId, ObjectHash>,
    told: HubHistory,
}

impl<'a> Commits<'a> {
    pub(super) async fn prepare(
        job: &'a Job,
        dot: &'a Dot,
        ids: &'a [CommitId],
        (local, absent): (&'a History, &'a BTreeMap<CommitId, Source>),
        hub: &'a HubState,
    ) -> Result<Self, NodeError> {
        let registry = &job.node.registry;
        let Upstream {
            connection, name, ..
        } = &hub.upstream;
        // Seals may be missing here if the registry was rebuilt since an earlier push. The hub has them.
        let ask = async |commit, until| {
            let list = connection.hub_commits(name, commit, until).await?;
            let first = list.commits.into_iter().next();
            first.ok_or_else(|| job.no_remote_dot())
        };
        let mut seals = registry.seals(&dot.id).await?;
        let mut parents = HashMap::new();
        let sent: HashSet<CommitId> = ids.iter().copied().collect();
        for id in ids {
            let parent = local.parent(*id).unwrap_or(CommitId::ROOT);
            if hub.without_data.contains(id) && !seals.contains_key(id) {
                let told = ask(*id, Some(parent)).await?;
                let (seal, root, links) = (told.seal, told.root, true);
                seals.insert(*id, Seal { seal, root, links });
            }
            if parent == CommitId::ROOT || sent.contains(&parent) || seals.contains_key(&parent) {
                continue;
            }
            let seal = match hub.seals.get(&parent) {
                Some(seal) => *seal,
                None => ask(parent, None).await?.seal,
            };
            parents.insert(parent, seal);
        }
        Ok(Self {
            upstream: &hub.upstream,
            dot,
            ids,
            local,
            hub,
            absent,
            seals,
            parents,
            told: HubHistory::load(&job.node, &dot.name).await?,
        })
    }

    pub(super) async fn send(
        &self,
        updates: Vec<BranchUpdate>,
    ) -> Result<(Option<DotIdentity>, Stays), NodeError> {
        match self.try_send(updates.clone(), true).await {
            // The hub lacks objects of commits in its history, so send all objects in full.
            Err(NodeError::DeltasRefused) => self.try_send(updates, false).await,
            sent => sent,
        }
    }

    async fn try_send(
        &self,
        updates: Vec<BranchUpdate>,
        deltas: bool,
    ) -> Result<(Option<DotIdentity>, Stays), NodeError> {
        let Connection {
            node,
            hub,
            rate,
            progress,
            bundles,
            ..
        } = &self.upstream.connection;
        let cache = node.stored_pages.of(&self.dot.name);
        progress.start_phase("comparing");
        let at_once = (*bundles && deltas).then(|| Upload {
            id: random_hex::<16>(),
        });
        let mut push = Push::new(hub, &self.upstream.name, rate, progress, deltas, at_once);
        let mut stays = Stays::default();
        let mut sealed = Vec::with_capacity(self.ids.len());
        // The commits that this push has sent with their data.
        let mut done: HashMap<CommitId, Seal> = HashMap::new();
        for id in self.ids {
            if self.absent.contains_key(id) {
                sealed.push(self.without_data(*id).await?);
                continue;
            }
            let parent = self.local.parent(*id).unwrap_or(CommitId::ROOT);
            let parent_seal = self.parent_seal(parent, &done)?;
            let data = node.pool.commit_data(&self.dot.name, *id);
            // A commit that was made here has a snapshot that descends from its parent's, by way of a working copy. The
            // snapshot of a received commit may descend from any other, so the filesystem's list of changes would not
            // be relative to its parent.
            let base_of = match self.base(parent, &done) {
                Some(seal) if self.told.get(*id).is_none() => self.compare(parent, seal, *id).await,
                _ => None,
            };
            progress.add_total(match &base_of {
                Some(base) => base.changes.bytes(),
                None => dotmesh_sync::measure(&data)
                    .await
                    .map_err(SealError::from)?,
            });
            progress.start_phase("sending");
            let refused = |error| match error {
                SealError::Sink(error) if deltas && is_about_deltas(&error) => {
                    NodeError::DeltasRefused
                }
                error => error.into(),
            };
            let sent = push.send(&data, base_of, &cache).await;
            let mut sent = sent.map_err(refused)?;
            let left_out = match self.seals.get(id) {
                Some(known) if known.root != sent.root => {
                    // It was sealed elsewhere, or before there were limits for every pool.
                    let again = push.send_within(Limits::Format, &data, None, &cache).await;
                    sent = match again {
                        Ok(again) if again.root == known.root => again,
                        Err(error @ SealError::Sink(_)) => return Err(refused(error)),
                        _ => return Err(NodeError::Unsealed { commit: *id }),
                    };
                    LeftOut::default()
                }
                _ => {
                    node.registry.set_within_limits(&self.dot.id, *id).await?;
                    self.left_out(*id).await?
                }
            };
            let record = node.registry.record(&self.dot.id, *id).await?;
            CommitRecord::decode(&record)?;
            let seal = Seal {
                seal: dotmesh_store::seal(parent_seal, &record, sent.root),
                root: sent.root,
                links: sent.has_links,
            };
            // Store the seal now, so that a retry after an interrupted push need not seal it again.
            node.registry.set_seal(&self.dot.id, *id, seal).await?;
            // Report the sockets of the newest commit that has any.
            if sent.sockets.count > 0 {
                stays.sockets = SkippedSockets {
                    count: sent.sockets.count,
                    first: sent.sockets.first,
                };
            }
            stays.left_out.clone_from(&left_out);
            let record = String::from_utf8(record).expect("what was decoded as JSON is UTF-8");
            sealed.push(SealedCommit {
                seal: seal.seal,
                root: seal.root,
                record,
                left_out: (!left_out.is_empty()).then_some(left_out),
                without_data: false,
            });
            done.insert(*id, seal);
        }
        bound(&mut sealed);
        match push.finish(sealed, updates).await {
            Err(error) if deltas && is_about_deltas(&error) => Err(NodeError::DeltasRefused),
            finished => Ok((finished?, stays)),
        }
    }

    /// A commit whose data is not here, with the seal that the hub reported.
    async fn without_data(&self, id: CommitId) -> Result<SealedCommit, NodeError> {
        let node = &self.upstream.connection.node;
        let record = node.registry.record(&self.dot.id, id).await?;
        CommitRecord::decode(&record)?;
        let seal = self.seals.get(&id).ok_or_else(|| no_seal(id))?;
        let left_out = left_out::known(node, self.dot, id).await?;
        Ok(SealedCommit {
            seal: seal.seal,
            root: seal.root,
            record: String::from_utf8(record).expect("what was decoded as JSON is UTF-8"),
            left_out: (!left_out.is_empty()).then_some(left_out),
            without_data: true,
        })
    }

    fn parent_seal(
        &self,
        parent: CommitId,
        sent: &HashMap<CommitId, Seal>,
    ) -> Result<ObjectHash, NodeError> {
        if parent == CommitId::ROOT {
            return Ok(dotmesh_store::ROOT_SEAL);
        }
        let known = sent.get(&parent).or_else(|| self.seals.get(&parent));
        let seal = known.map(|known| known.seal);
        let seal = seal.or_else(|| self.parents.get(&parent).copied());
        seal.ok_or_else(|| no_seal(parent))
    }

    /// The parent's seal, if its data is here and the hub has it or gets it in this push. Its objects are not sent
    /// again.
    fn base(&self, parent: CommitId, sent: &HashMap<CommitId, Seal>) -> Option<Seal> {
        if let Some(seal) = sent.get(&parent) {
            return Some(*seal);
        }
        let is_here = !self.absent.contains_key(&parent);
        let is_there = !self.ids.contains(&parent) && !self.hub.without_data.contains(&parent);
        let seal = self.seals.get(&parent).copied();
        seal.filter(|_| is_here && is_there)
    }

    /// The files left out of a commit. For a received commit, only what is known.
    async fn left_out(&self, id: CommitId) -> Result<LeftOut, NodeError> {
        let node = &self.upstream.connection.node;
        match self.told.get(id) {
            Some(_) => left_out::known(node, self.dot, id).await,
            None => Ok(left_out::found(node, self.dot, id).await?.left_out()),
        }
    }

    /// The changes from the parent to a commit. If they cannot be found, the whole commit is read.
    async fn compare(&self, parent: CommitId, seal: Seal, id: CommitId) -> Option<SealedBase> {
        let pool = &self.upstream.connection.node.pool;
        let name = &self.dot.name;
        let registry = &self.upstream.connection.node.registry;
        let is_within_limits = registry.is_within_limits(&self.dot.id, parent).await;
        match pool.difference(name, parent, id, seal.links).await {
            Ok(changes) => Some(SealedBase {
                root: seal.root,
                data: pool.commit_data(name, parent),
                changes: changes.into(),
                is_within_limits: is_within_limits.unwrap_or(false),
            }),
            Err(error) => {
                tracing::warn!(dot = %name, commit = %id, %error, "a commit cannot be compared with its parent");
                None
            }
        }
    }
}

/// The maximum size in bytes of all left-out lists in a push. The limit of the request is larger, since it holds more
/// than these.
const MAX_LISTS: usize = 8 << 20;

/// Shortens the lists of the oldest commits, so that all lists together stay within `MAX_LISTS`.
fn bound(commits: &mut [SealedCommit]) {
    let mut room = MAX_LISTS;
    for list in commits
        .iter_mut()
        .rev()
        .filter_map(|commit| commit.left_out.as_mut())
    {
        let fits = list.items.iter().take_while(|item| {
            // JSON needs up to 6 bytes for a byte of text.
            let length = 6 * (item.path.len() + item.reason.len()) + 32;
            let is_room = length <= room;
            room = room.saturating_sub(length);
            is_room
        });
        let fits = fits.count();
        list.items.truncate(fits);
    }
}

fn no_seal(commit: CommitId) -> NodeError {
    NodeError::RegistryDamaged(format!("commit {commit} has no seal"))
}

#[cfg(test)]
mod tests {
    use dotmesh_model::LeftOutItem;

    use super::*;

    #[test]
    fn the_lists_of_a_push_are_bounded_and_the_newest_is_whole() {
        let item = LeftOutItem {
            path: "p".repeat(1000),
            reason: "a device node".to_owned(),
        };
        let commit = SealedCommit {
            seal: ObjectHash::from_bytes([1; 32]),
            root: ObjectHash::from_bytes([2; 32]),
            record: String::new(),
            left_out: Some(LeftOut {
                count: 1000,
                items: vec![item; 1000],
            }),
            without_data: false,
        };
        let mut commits = vec![commit; 10_000];
        bound(&mut commits);
        let length = serde_json::to_vec(&commits).expect("JSON").len();
        assert!(length < 16 << 20, "{length}");
        let items = |commit: &SealedCommit| commit.left_out.as_ref().map(|list| list.items.len());
        assert_eq!(commits.last().and_then(items), Some(1000));
        assert!(commits.iter().all(|commit| {
            commit
                .left_out
                .as_ref()
                .is_some_and(|list| list.count == 1000)
        }));
    }
}
