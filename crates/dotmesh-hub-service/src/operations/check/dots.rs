//! Checks the connections of a dot: with an object, it has everything that the object refers to.

use std::collections::{BTreeSet, VecDeque};

use dotmesh_hub_db::check::CheckedDot;
use dotmesh_hub_db::ids::{DotId, UserId};
use dotmesh_hub_db::objects::{Location, Member};
use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::polite::Yielder;
use dotmesh_store::{Kind, ObjectReference, PackStoreError, references};
use foldhash::{HashMap, HashMapExt as _};

use super::{BrokenDot, CheckReport, Checker, Defect, Losses};
use crate::error::HubError;
use crate::operations::frames::{Decoder, read_objects};

/// The most pages in a batch.
const PAGES: usize = 256;

/// Hashes in one lookup.
const HASHES: usize = 8192;

/// The number of missing objects that a problem names.
const SHOWN: usize = 3;

/// The check of one dot.
struct DotCheck<'a> {
    checker: &'a Checker,
    losses: &'a Losses,
    owner: UserId,
    dot: DotId,
    /// The pages and roots that are whole and were checked: whether everything below them is there.
    pages: HashMap<ObjectHash, bool>,
    missing: BTreeSet<ObjectHash>,
}

/// A page that a commit has, and that no commit before had.
struct NewPage {
    hash: ObjectHash,
    /// The pages that it refers to.
    below: Vec<ObjectHash>,
    is_broken: bool,
}

impl Checker {
    pub(super) async fn check_dot(
        &self,
        dot: CheckedDot,
        report: &mut CheckReport,
        losses: &mut Losses,
    ) -> Result<(), HubError> {
        let mut check = DotCheck {
            checker: self,
            losses,
            owner: dot.owner,
            dot: dot.id,
            pages: HashMap::new(),
            missing: BTreeSet::new(),
        };
        let mut broken: Vec<CommitId> = Vec::new();
        let commits = self.database.commits_with_data(dot.id).await?;
        let count = commits.len() as u64;
        for commit in commits {
            if !check.check_tree(commit.root).await? {
                broken.push(commit.id);
            }
        }
        let DotCheck { pages, missing, .. } = check;
        report.dots += 1;
        report.commits += count;
        if broken.is_empty() {
            return Ok(());
        }
        // A dot that was deleted or moved meanwhile has nothing left to check.
        let now = self.database.commits_with_data(dot.id).await?;
        broken.retain(|broken| now.iter().any(|commit| commit.id == *broken));
        if broken.is_empty() {
            return Ok(());
        }
        report.problems.push(Defect::CommitsIncomplete {
            dot: dot.name.clone(),
            commits: broken.clone(),
            missing: missing.into_iter().take(SHOWN).collect(),
        });
        let pages = pages.into_iter().filter(|(_, whole)| !whole);
        losses.dots.push(BrokenDot {
            dot,
            commits: broken,
            pages: pages.map(|(hash, _)| hash).collect(),
        });
        Ok(())
    }
}

impl DotCheck<'_> {
    /// Checks a tree, without the pages that were checked before. Returns whether all of it is there.
    async fn check_tree(&mut self, root: ObjectHash) -> Result<bool, HubError> {
        if let Some(whole) = self.pages.get(&root) {
            return Ok(*whole);
        }
        let mut new: Vec<NewPage> = Vec::new();
        let mut waiting: VecDeque<(ObjectHash, Location)> = VecDeque::new();
        let mut queued: BTreeSet<ObjectHash> = BTreeSet::new();
        let first = self.find(&[(Kind::Root, root)]).await?;
        match first.first() {
            Some(Some(member)) => waiting.push_back((root, member.location)),
            _ => {
                self.missing.insert(root);
                return Ok(false);
            }
        }
        queued.insert(root);
        while !waiting.is_empty() {
            let batch: Vec<_> = waiting.drain(..waiting.len().min(PAGES)).collect();
            let read = self.read(&batch).await?;
            let all: Vec<ObjectReference> = read.iter().flatten().flatten().copied().collect();
            let mut found = self.find(&all).await?.into_iter();
            for ((hash, _), named) in batch.into_iter().zip(read) {
                let Some(named) = named else {
                    self.missing.insert(hash);
                    self.pages.insert(hash, false);
                    new.push(NewPage {
                        hash,
                        below: Vec::new(),
                        is_broken: true,
                    });
                    continue;
                };
                let mut page = NewPage {
                    hash,
                    below: Vec::new(),
                    is_broken: false,
                };
                for ((kind, hash), member) in named.into_iter().zip(found.by_ref()) {
                    match member {
                        None => {
                            self.missing.insert(hash);
                            page.is_broken = true;
                        }
                        Some(_) if kind == Kind::Chunk => {}
                        Some(member) => {
                            page.below.push(hash);
                            if !self.pages.contains_key(&hash) && queued.insert(hash) {
                                waiting.push_back((hash, member.location));
                            }
                        }
                    }
                }
                new.push(page);
            }
        }
        Ok(self.judge(new, root))
    }

    /// Decides which of the new pages have everything below them.
    fn judge(&mut self, mut new: Vec<NewPage>, root: ObjectHash) -> bool {
        for page in &new {
            self.pages.insert(page.hash, !page.is_broken);
        }
        // Pages below come later, so one round is nearly always enough.
        loop {
            let mut has_changed = false;
            for page in new.iter_mut().rev().filter(|page| !page.is_broken) {
                let whole = |hash: &ObjectHash| self.pages.get(hash).copied().unwrap_or_default();
                if !page.below.iter().all(whole) {
                    page.is_broken = true;
                    has_changed = true;
                    self.pages.insert(page.hash, false);
                }
            }
            if !has_changed {
                break;
            }
        }
        self.pages.get(&root).copied().unwrap_or_default()
    }

    /// Returns those of the objects that the dot has, in this kind, and that are not lost.
    async fn find(&self, wanted: &[ObjectReference]) -> Result<Vec<Option<Member>>, HubError> {
        let mut found = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(HASHES) {
            let hashes: Vec<ObjectHash> = wanted.iter().map(|(_, hash)| *hash).collect();
            let database = &self.checker.database;
            let members = database.members(self.owner, self.dot, &hashes).await?;
            let members = wanted.iter().zip(members).map(|((kind, _), member)| {
                member.filter(|member| member.kind == *kind && !self.losses.has(member.id))
            });
            found.extend(members);
        }
        Ok(found)
    }

    /// Reads pages, and returns what they refer to. `None` for pages that are damaged.
    async fn read(
        &self,
        pages: &[(ObjectHash, Location)],
    ) -> Result<Vec<Option<Vec<ObjectReference>>>, HubError> {
        let read = match read_objects(&self.checker.packs, pages).await {
            // One of them is lost since the packs were checked.
            Err(PackStoreError::NotFound { .. } | PackStoreError::Damaged { .. }) => {
                return Ok(vec![None; pages.len()]);
            }
            read => read?,
        };
        let reading = self.checker.threads.run(move || {
            let mut decoder = Decoder::default();
            let mut yielder = Yielder::default();
            let named = read.iter().map(|read| {
                yielder.yield_if_due();
                let object = decoder.object(read).ok()?;
                references(object.kind(), object.bytes()).ok()
            });
            named.collect()
        });
        Ok(reading.await?)
    }
}
