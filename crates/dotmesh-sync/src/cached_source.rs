//! Objects from where they are at hand: nodes from the cache, and the rest from elsewhere. Nodes that come are cached.

use std::collections::HashMap;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object};

use crate::objects::{FetchError, ObjectSource};
use crate::seal::NodeCache;

/// A source behind a cache of nodes.
pub struct CachedSource<S> {
    source: S,
    cache: Arc<dyn NodeCache>,
}

impl<S: ObjectSource> CachedSource<S> {
    /// Puts the cache before the source.
    pub fn new(source: S, cache: Arc<dyn NodeCache>) -> Self {
        Self { source, cache }
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

    async fn keep(&self, nodes: Vec<Object>) {
        let cache = Arc::clone(&self.cache);
        let keep = tokio::task::spawn_blocking(move || cache.put(&nodes));
        keep.await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
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
            self.keep(fetched).await;
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
