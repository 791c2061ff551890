//! Handles chunks that the tree has in several places. Such a chunk is fetched for the first place. The other places
//! take it from memory, or from the file that it was written to.
//!
//! The memory does not grow with the tree. A filter tells which chunks may come several times. A limited number of
//! these is remembered, and the others are fetched for each place.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Segment, object_hash};
use tokio::sync::Notify;

use super::content::Edit;
use super::file::File;
use super::local::open_below;
use crate::disk;

/// The number of bits in a filter, which take 4 MiB. With the chunks of a tree of 100 GiB, the filter wrongly reports
/// one in ten chunks as repeated.
const FILTER_BITS: usize = 1 << 25;

/// The most chunks that are remembered. A chunk has about 16 KiB.
const MAX_CHUNKS: usize = 1 << 18;

/// The most files that are remembered.
const MAX_FILES: usize = 1 << 16;

/// A Bloom filter of hashes: it may report hashes that were not inserted.
#[derive(Default)]
struct Filter(Vec<u64>);

impl Filter {
    fn insert(&mut self, hash: ObjectHash) {
        if self.0.is_empty() {
            self.0.resize(FILTER_BITS / 64, 0);
        }
        for bit in bits(hash) {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn contains(&self, hash: ObjectHash) -> bool {
        !self.0.is_empty()
            && bits(hash)
                .iter()
                .all(|bit| self.0[bit / 64] >> (bit % 64) & 1 == 1)
    }
}

fn bits(hash: ObjectHash) -> [usize; 2] {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    [[a, b, c, d], [e, f, g, h]].map(|bytes| u32::from_le_bytes(bytes) as usize % FILTER_BITS)
}

/// Finds the chunks that come several times.
#[derive(Default)]
pub(super) struct Repeats {
    once: Filter,
    again: Filter,
}

impl Repeats {
    /// Notes edits that are written `times` times.
    pub(super) fn note(&mut self, edits: &[Edit], times: u64) {
        for edit in edits {
            if let Segment::Data { hash, .. } = edit.segment {
                if times > 1 || self.once.contains(hash) {
                    self.again.insert(hash);
                }
                self.once.insert(hash);
            }
        }
    }
}

/// The chunks that come several times, and where they are.
pub(super) struct Shared {
    root: Arc<OwnedFd>,
    repeats: Filter,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The chunks that are not written yet, with their bytes as soon as they are fetched.
    under_way: HashMap<ObjectHash, Option<Bytes>>,
    /// The written chunks: the number of the file, and the position in it.
    written: HashMap<ObjectHash, (u32, u64)>,
    /// The paths of the files, by number.
    files: Vec<Box<[u8]>>,
}

/// The place from which a chunk can be taken.
pub(super) enum Found {
    Here(Bytes),
    Written(Place),
    /// Only the source has it.
    Nowhere,
}

/// A position in a written file.
pub(super) struct Place {
    file: u32,
    offset: u64,
}

impl Shared {
    /// Makes the state for a tree in the directory `root`. No chunk is here yet.
    pub(super) fn new(root: &Arc<OwnedFd>, repeats: Repeats) -> Self {
        Self {
            root: Arc::clone(root),
            repeats: repeats.again,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether a chunk may come several times.
    pub(super) fn repeats(&self, hash: ObjectHash) -> bool {
        self.repeats.contains(hash)
    }

    /// Whether the caller is the first that needs a repeated chunk, and there is room to remember it. The caller must
    /// then [`Self::give`] it.
    pub(super) fn claim(&self, hash: ObjectHash) -> bool {
        if !self.repeats(hash) {
            return false;
        }
        let mut state = self.state();
        let known = state.under_way.contains_key(&hash) || state.written.contains_key(&hash);
        let has_room = state.under_way.len() + state.written.len() < MAX_CHUNKS;
        if known || !has_room {
            return false;
        }
        state.under_way.insert(hash, None);
        true
    }

    /// Gives the claimed chunks to the others. A claimed chunk that is not in `chunks` is given up.
    pub(super) fn give(&self, claimed: &HashSet<ObjectHash>, chunks: &HashMap<ObjectHash, Bytes>) {
        if claimed.is_empty() {
            return;
        }
        let mut state = self.state();
        for hash in claimed {
            match (state.under_way.get_mut(hash), chunks.get(hash)) {
                (Some(slot), Some(bytes)) => *slot = Some(bytes.clone()),
                (Some(_), None) => drop(state.under_way.remove(hash)),
                (None, _) => {}
            }
        }
        self.changed.notify_waiters();
    }

    /// Finds a chunk that another batch may have claimed, and waits until it is fetched. This can't deadlock: the claim
    /// belongs to an earlier batch, and no batch waits for a later one.
    pub(super) async fn find(&self, hash: ObjectHash) -> Found {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state();
                match (state.under_way.get(&hash), state.written.get(&hash)) {
                    (Some(Some(bytes)), _) => return Found::Here(bytes.clone()),
                    (Some(None), _) => {}
                    (None, Some(&(file, offset))) => return Found::Written(Place { file, offset }),
                    (None, None) => return Found::Nowhere,
                }
            }
            changed.await;
        }
    }

    /// Notes that a file has these bytes.
    pub(super) fn wrote(&self, file: &File, edits: &[Edit]) {
        let mut repeated = edits
            .iter()
            .filter_map(|edit| match edit.segment {
                Segment::Data { hash, .. } => Some((hash, edit.offset)),
                Segment::Hole { .. } => None,
            })
            .filter(|(hash, _)| self.repeats(*hash))
            .peekable();
        if repeated.peek().is_none() {
            return;
        }
        let mut state = self.state();
        for (hash, offset) in repeated {
            if state.under_way.remove(&hash).is_some()
                && let Some(number) = state.number(file)
            {
                state.written.insert(hash, (number, offset));
            }
        }
        self.changed.notify_waiters();
    }

    /// Reads written chunks. Leaves out those that can't be read or have other bytes by now. Blocks.
    pub(super) fn read(&self, places: &[(ObjectHash, u32, Place)]) -> Vec<(ObjectHash, Bytes)> {
        let mut open: Option<(u32, OwnedFd)> = None;
        let mut read = |hash: ObjectHash, length: u32, place: &Place| {
            if open.as_ref().is_none_or(|(open, _)| *open != place.file) {
                let path = self.state().files.get(place.file as usize)?.clone();
                open = Some((place.file, open_below(self.root.as_fd(), &path).ok()?));
            }
            let (_, file) = open.as_ref()?;
            let mut bytes = vec![0; length as usize];
            disk::read_exact(file.as_fd(), &mut bytes, place.offset).ok()?;
            (object_hash(Kind::Chunk, &bytes) == hash).then(|| (hash, bytes.into()))
        };
        let places = places.iter();
        places
            .filter_map(|(hash, length, place)| read(*hash, *length, place))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of a file. Returns `None` if it has none and there is no room for more.
    fn number(&mut self, file: &File) -> Option<u32> {
        if let Some(number) = file.number.get() {
            return Some(*number);
        }
        if self.files.len() >= MAX_FILES {
            return None;
        }
        let number = u32::try_from(self.files.len()).ok()?;
        let path = file.directory.path(file.name.as_bytes());
        self.files.push(path.into());
        Some(*file.number.get_or_init(|| number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(n: u64) -> Edit {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        let hash = ObjectHash::from_bytes(hash);
        Edit {
            offset: 0,
            segment: Segment::Data { hash, length: 1 },
        }
    }

    fn again(repeats: &Repeats, edit: Edit) -> bool {
        let Segment::Data { hash, .. } = edit.segment else {
            return false;
        };
        repeats.again.contains(hash)
    }

    #[test]
    fn what_comes_again_is_never_missed_and_little_else_is_taken_for_it() {
        let mut repeats = Repeats::default();
        for n in 0..1_000_000 {
            repeats.note(&[data(n)], 1);
        }
        for n in 0..1000 {
            repeats.note(&[data(n)], 1);
        }
        repeats.note(&[data(2_000_000)], 2);
        assert!((0..1000).all(|n| again(&repeats, data(n))));
        assert!(again(&repeats, data(2_000_000)));
        let others = (1000..1_000_000).filter(|n| again(&repeats, data(*n)));
        assert!(others.count() < 10_000);
    }
}
