//! The contract of a pack store, for every kind of object store.

use bytes::Bytes;
use dotmesh_store::{
    Frame, FrameRange, Kind, Object, PackId, PackStore, PackStoreError, PackWriter,
};

/// A pack of these contents, with its frames and their positions.
fn pack(contents: impl IntoIterator<Item = Vec<u8>>) -> (Bytes, Vec<(Frame, FrameRange)>) {
    let mut writer = PackWriter::default();
    let mut frames = Vec::new();
    for content in contents {
        let frame = Frame::encode(&Object::new(Kind::Chunk, content));
        let range = FrameRange {
            offset: writer.push(&frame) as u32,
            length: frame.stored().len() as u32,
        };
        frames.push((frame, range));
    }
    (writer.finish(), frames)
}

/// Incompressible bytes.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    let mut content = vec![0; length];
    reader.fill(&mut content);
    content
}

pub(crate) async fn listed(store: &PackStore) -> Vec<(PackId, u64)> {
    let mut list = store.list().await.unwrap();
    list.sort();
    list
}

/// Checks the whole contract on an empty store.
pub(crate) async fn keeps_its_promises(store: &PackStore) {
    assert_eq!(listed(store).await, []);
    assert_eq!(store.owner().await.unwrap(), None);
    store.set_owner("a hub".to_owned()).await.unwrap();
    assert_eq!(store.owner().await.unwrap().as_deref(), Some("a hub"));
    let (first, frames) = pack((0..200).map(|n| noise(n, 1 + n as usize * 300)));
    let (second, _) = pack([b"another".to_vec()]);

    // A stored pack can be read as a whole.
    let id = store.put(first.clone()).await.unwrap();
    assert_eq!(id, PackId::of(&first));
    assert_eq!(store.get(id).await.unwrap(), first);
    // Its frames can be read near and far from each other, in any order, twice, or none at all.
    for chosen in [
        (0..200).collect::<Vec<usize>>(),
        (0..200).rev().collect(),
        vec![7],
        vec![199, 0, 100, 101, 102, 0],
        vec![],
    ] {
        let ranges: Vec<FrameRange> = chosen.iter().map(|n| frames[*n].1).collect();
        let read = store.read(id, &ranges).await.unwrap();
        let expected: Vec<&Bytes> = chosen.iter().map(|n| frames[*n].0.stored()).collect();
        assert_eq!(read.iter().collect::<Vec<_>>(), expected);
    }
    // A range beyond the pack's end means that the pack was cut.
    for offset in [first.len() as u32 - 10, first.len() as u32 + 10] {
        let beyond = FrameRange { offset, length: 20 };
        let cut = store.read(id, &[frames[0].1, beyond]).await;
        assert!(matches!(cut, Err(PackStoreError::Damaged { pack }) if pack == id));
    }

    // Putting a pack again succeeds and changes nothing.
    assert_eq!(store.put(first.clone()).await.unwrap(), id);
    let other = store.put(second.clone()).await.unwrap();
    let mut both = vec![(id, first.len() as u64), (other, second.len() as u64)];
    both.sort();
    assert_eq!(listed(store).await, both);

    // A missing pack is reported as not found.
    let unknown = PackId::of(b"unknown");
    let not_found = |error: PackStoreError| match error {
        PackStoreError::NotFound { pack } => pack == unknown,
        error => panic!("{error:?}"),
    };
    assert!(not_found(store.get(unknown).await.unwrap_err()));
    let range = frames[0].1;
    assert!(not_found(store.read(unknown, &[range]).await.unwrap_err()));
    store.delete(unknown).await.unwrap();

    // A deleted pack is gone, and the others stay.
    store.delete(id).await.unwrap();
    assert!(store.get(id).await.is_err());
    assert_eq!(store.get(other).await.unwrap(), second);
    assert_eq!(listed(store).await, [(other, second.len() as u64)]);

    // The largest pack is stored and read. A larger one is refused.
    let largest = Bytes::from(noise(1, 32 << 20));
    let id = store.put(largest.clone()).await.unwrap();
    assert_eq!(store.get(id).await.unwrap(), largest);
    let too_long = store.put(vec![0; (32 << 20) + 1].into()).await;
    assert!(matches!(too_long, Err(PackStoreError::TooLong { .. })));

    // Many packs at once.
    let packs: Vec<Bytes> = (0..24).map(|n| pack([noise(n, 100_000)]).0).collect();
    let put = packs.iter().map(|pack| store.put(pack.clone()));
    let ids = futures::future::try_join_all(put).await.unwrap();
    let got = ids.iter().map(|id| store.get(*id));
    assert_eq!(futures::future::try_join_all(got).await.unwrap(), packs);
}
