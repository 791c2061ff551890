//! Reads tree pages and file pages from a local cache, and fetches the rest. Caches each fetched page.

use std::collections::HashMap;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object};
use tokio::sync::mpsc;

use crate::objects::{FetchError, ObjectSource};
use crate::seal::PageCache;

/// The number of answers that may wait for the cache. It stores them one after the other, while more are fetched.
const WAITING: usize = 8;

/// A source of objects with a cache of pages in front of it.
pub struct CachedSource<S> {
    source: S,
    cache: Arc<dyn PageCache>,
    /// Sends pages to the thread that caches them. When the source is dropped, the thread stores what it has and ends.
    keeping: mpsc::Sender<Vec<Object>>,
}

impl<S: ObjectSource> CachedSource<S> {
    /// Puts the cache in front of the source.
    pub fn new(source: S, cache: Arc<dyn PageCache>) -> Self {
        let (keeping, mut came) = mpsc::channel::<Vec<Object>>(WAITING);
        let keeper = Arc::clone(&cache);
        tokio::task::spawn_blocking(move || {
            while let Some(mut pages) = came.blocking_recv() {
                while let Ok(more) = came.try_recv() {
                    pages.extend(more);
                }
                keeper.put(&pages);
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
            // A damaged page is fetched again.
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
            known.extend(fetched.iter().map(|page| (page.hash(), page.clone())));
            // If the thread is gone, the pages are not cached, which is no error.
            let _ = self.keeping.send(fetched).await;
        }
        hashes
            .iter()
            .map(|hash| {
                let page = known.get(hash).cloned();
                page.ok_or(FetchError::Missing { hash: *hash })
            })
            .collect()
    }
}
