//! The proxy between nodes and hub: it forwards bytes, cuts connections, and flips a bit of a pack.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::step::Way;

/// The first bytes of every pack.
const MAGIC: &[u8] = b"dotpack\x01";

/// The largest pack in a bundle, in bytes.
const MAX_BUNDLE_LENGTH: usize = 1 << 20;

/// Listens on one address, and forwards connections to another.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// A change ends all connections. New ones end at once while it is true.
    cut: watch::Sender<bool>,
    flip_to_hub: Flip,
    flip_from_hub: Flip,
}

/// A bit to flip in the next pack.
#[derive(Debug, Default)]
struct Flip {
    armed: AtomicBool,
    roll: AtomicU64,
    done: AtomicU64,
}

impl Proxy {
    pub(crate) async fn start(listen: SocketAddr, hub: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind(listen).await?;
        let proxy = Proxy {
            address: listener.local_addr()?,
            state: Arc::new(State {
                cut: watch::channel(false).0,
                flip_to_hub: Flip::default(),
                flip_from_hub: Flip::default(),
            }),
        };
        let state = Arc::clone(&proxy.state);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(pass_on(connection, hub, Arc::clone(&state)));
            }
        });
        Ok(proxy)
    }

    /// Ends all connections. Refuses new ones until it is called with false.
    pub(crate) fn cut(&self, cut: bool) {
        self.state.cut.send_replace(cut);
    }

    /// Flips a bit of the next pack in this direction.
    pub(crate) fn arm(&self, way: Way, roll: u64) {
        let flip = self.state.flip(way);
        flip.roll.store(roll, Ordering::SeqCst);
        flip.armed.store(true, Ordering::SeqCst);
    }

    /// Stops flipping. Returns the number of bits flipped since the last call.
    pub(crate) fn disarm(&self, way: Way) -> u64 {
        let flip = self.state.flip(way);
        flip.armed.store(false, Ordering::SeqCst);
        flip.done.swap(0, Ordering::SeqCst)
    }
}

impl State {
    fn flip(&self, way: Way) -> &Flip {
        match way {
            Way::ToHub => &self.flip_to_hub,
            Way::FromHub => &self.flip_from_hub,
        }
    }
}

impl Flip {
    /// Flips a bit after a pack's magic number, if these bytes have one.
    fn apply(&self, bytes: &mut [u8]) {
        let Some(begin) = bytes
            .windows(MAGIC.len())
            .position(|window| window == MAGIC)
        else {
            return;
        };
        // A bundle has the pack's length before it, and JSON after it. In any other body these bytes are no such length.
        let length = bytes[..begin]
            .last_chunk()
            .map(|four| u32::from_le_bytes(*four));
        let length = length.and_then(|length| usize::try_from(length).ok());
        let end = length.filter(|length| *length <= MAX_BUNDLE_LENGTH);
        let end = end.map_or(bytes.len(), |length| bytes.len().min(begin + length));
        let Some(body) = bytes.get_mut(begin + MAGIC.len()..end) else {
            return;
        };
        let Ok(bits) = u64::try_from(body.len() * 8) else {
            return;
        };
        if bits == 0 || !self.armed.swap(false, Ordering::SeqCst) {
            return;
        }
        let bit = self.roll.load(Ordering::SeqCst) % bits;
        if let Some(byte) = usize::try_from(bit / 8)
            .ok()
            .and_then(|at| body.get_mut(at))
        {
            *byte ^= 1 << (bit % 8);
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn pass_on(node: TcpStream, hub: SocketAddr, state: Arc<State>) {
    let mut cut = state.cut.subscribe();
    if *cut.borrow_and_update() {
        return;
    }
    let Ok(hub) = TcpStream::connect(hub).await else {
        return;
    };
    let (mut from_node, mut to_node) = node.into_split();
    let (mut from_hub, mut to_hub) = hub.into_split();
    let up = copy(&mut from_node, &mut to_hub, &state.flip_to_hub);
    let down = copy(&mut from_hub, &mut to_node, &state.flip_from_hub);
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        _ = cut.changed() => {}
    }
}

async fn copy(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    flip: &Flip,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        flip.apply(&mut buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_a_pack_is_flipped_and_nothing_else() {
        let flip = Flip::default();
        let original = [b"HTTP/1.1 200 OK\r\n\r\ndotpack\x01".as_slice(), &[0; 100]].concat();
        let mut bytes = original.clone();
        flip.apply(&mut bytes);
        assert_eq!(bytes, original);
        flip.roll.store(799, Ordering::SeqCst);
        flip.armed.store(true, Ordering::SeqCst);
        let mut other = b"no pack".to_vec();
        flip.apply(&mut other);
        assert_eq!(other, b"no pack");
        flip.apply(&mut bytes);
        assert_eq!(bytes[..bytes.len() - 1], original[..original.len() - 1]);
        assert_eq!(bytes.last(), Some(&0x80));
        flip.apply(&mut bytes);
        assert_eq!(flip.done.load(Ordering::SeqCst), 1);

        // A bundle's pack of two bytes after the magic, and JSON.
        let original = [b"\n\x0a\0\0\0dotpack\x01".as_slice(), b"\0\0{}"].concat();
        let mut bytes = original.clone();
        flip.armed.store(true, Ordering::SeqCst);
        flip.apply(&mut bytes);
        assert_eq!(bytes[..14], original[..14]);
        assert_eq!(bytes[14..], *b"\x80{}");
    }
}
