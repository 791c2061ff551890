//! Objects from where they are at hand: nodes from the cache, and the rest from elsewhere. Nodes that come are cached.

use std::collections::HashMap;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object};
use tokio::sync::mpsc;

use crate::objects::{FetchError, ObjectSource};
use crate::seal::NodeCache;

/// So many answers wait to be cached. The cache takes one after the other, while more are on their way.
const WAITING: usize = 8;

/// A source behind a cache of nodes.
pub struct CachedSource<S> {
    source: S,
    cache: Arc<dyn NodeCache>,
    /// Nodes to be cached. Dropping the source ends the thread when it is done with them.
    keeping: mpsc::Sender<Vec<Object>>,
}

impl<S: ObjectSource> CachedSource<S> {
    /// Puts the cache before the source.
    pub fn new(source: S, cache: Arc<dyn NodeCache>) -> Self {
        let (keeping, mut came) = mpsc::channel::<Vec<Object>>(WAITING);
        let keeper = Arc::clone(&cache);
        tokio::task::spawn_blocking(move || {
            while let Some(mut nodes) = came.blocking_recv() {
                while let Ok(more) = came.try_recv() {
                    nodes.extend(more);
                }
                keeper.put(&nodes);
            }
        });
        Self {
            source,
            cache,
            keeping,
        }
    }

    async fn cached(&self, kind: Kind, hashes: &[ObjectHash]) -> HashMap<ObjectHash, Object> {
        let (cache, hashes) = (Arc::clone(&self.cache), hashes.to_vec());
        let look = tokio::task::spawn_blocking(move || {
            let found = cache.get(&hashes).into_iter();
            // What is damaged is fetched.
            found
                .filter_map(|(hash, bytes)| {
                    let object = Object::new(kind, bytes);
                    (object.hash() == hash).then_some((hash, object))
                })
                .collect()
        });
        look.await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

impl<S: ObjectSource> ObjectSource for CachedSource<S> {
    async fn fetch(&self, kind: Kind, hashes: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
        if kind == Kind::Chunk {
            return self.source.fetch(kind, hashes).await;
        }
        let mut known = self.cached(kind, hashes).await;
        let missing: Vec<ObjectHash> = hashes
            .iter()
            .filter(|hash| !known.contains_key(hash))
            .copied()
            .collect();
        if !missing.is_empty() {
            let fetched = self.source.fetch(kind, &missing).await?;
            known.extend(fetched.iter().map(|node| (node.hash(), node.clone())));
            // Without the thread there is nothing to keep them for.
            let _ = self.keeping.send(fetched).await;
        }
        hashes
            .iter()
            .map(|hash| {
                let node = known.get(hash).cloned();
                node.ok_or(FetchError::Missing { hash: *hash })
            })
            .collect()
    }
}
