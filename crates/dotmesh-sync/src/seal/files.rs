//! The threads that read files while the walk continues.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use dotmesh_store::FileContent;
use dotmesh_store::polite::give_way;

use super::SealError;
use super::base::BaseTree;
use super::content::{File, content};
use super::output::Output;
use crate::progress::Progress;

/// The number of open files that may wait for a reader.
const WAITING: usize = 64;

/// The queue in which the walk puts files.
pub(super) struct Files {
    jobs: SyncSender<Job>,
}

struct Job {
    file: File,
    answer: SyncSender<Result<FileContent, SealError>>,
}

/// The future content of a file.
pub(super) struct Promise(Receiver<Result<FileContent, SealError>>);

impl Promise {
    pub(super) fn wait(self) -> Result<FileContent, SealError> {
        // If the thread is gone, it failed before, and so did the walk.
        self.0.recv().unwrap_or(Err(SealError::Stopped))
    }
}

impl Files {
    /// Runs `walk` in parallel with one reader per core.
    pub(super) fn beside<T>(
        tree: Option<&BaseTree>,
        output: &Output,
        progress: &Progress,
        walk: impl FnOnce(&Self) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING);
        let waiting = Mutex::new(waiting);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..cores)
                .map(|_| {
                    let output = output.another();
                    scope.spawn(|| read(&waiting, tree, output, progress))
                })
                .collect();
            let files = Self { jobs };
            let walked = walk(&files);
            drop(files);
            let mut flushed = Ok(());
            for reader in readers {
                match reader.join() {
                    Ok(result) => flushed = flushed.and(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            let walked = walked?;
            flushed?;
            Ok(walked)
        })
    }

    /// Puts a file in the queue.
    pub(super) fn read(&self, file: File) -> Result<Promise, SealError> {
        let (answer, promise) = sync_channel(1);
        self.jobs
            .send(Job { file, answer })
            .map_err(|_| SealError::Stopped)?;
        Ok(Promise(promise))
    }
}

/// Reads files until the queue is closed.
fn read(
    waiting: &Mutex<Receiver<Job>>,
    tree: Option<&BaseTree>,
    mut output: Output,
    progress: &Progress,
) -> Result<(), SealError> {
    give_way();
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Job { file, answer }) = job else {
            return output.flush();
        };
        let result = content(&file, tree, &mut output, progress);
        // The walk may have failed meanwhile.
        let _ = answer.send(result);
    }
}
