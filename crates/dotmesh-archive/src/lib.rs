//! Folders as tar archives: with owners, modes, times, extended attributes, hard links and holes.
//!
//! [`pack()`] writes a folder, [`unpack()`] reads an archive from anybody into a folder, and [`copy()`] joins the two. The format is
//! POSIX 2001 (pax), with GNU's format 1.0 for files with holes. All files are opened through directory descriptors.

mod attributes;
mod counters;
mod error;
mod header;
mod pack;
mod pipe;
mod reader;
mod records;
mod sparse;
mod unpack;

use std::os::fd::BorrowedFd;

pub use attributes::{ExtendedAttribute, InodeAttributes, Time};
pub use counters::Counters;
pub use error::ArchiveError;
pub use header::{END, EntryKind, header, padding};
pub use pack::{Omitted, finish, measure, pack};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use unpack::{Rights, unpack};

/// Copies a folder into an empty one, with its own attributes and everything below it. Returns what it left out.
pub fn copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    counters: &Counters,
) -> Result<Omitted, ArchiveError> {
    let (mut writer, reader) = pipe();
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            // The counters count what is written.
            let packed = pack(from, b".", &mut writer, &Counters::default());
            packed.and_then(|left_out| {
                finish(&mut writer)?;
                Ok(left_out)
            })
        });
        let unpacked = unpack(reader, to, Rights::All, counters);
        let packed = packing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (packed, unpacked) {
            (Ok(mut left_out), Ok(more)) => {
                left_out.add(more);
                Ok(left_out)
            }
            // Whoever fails first makes the pipe break for the other.
            (Err(error), Ok(_)) => Err(error),
            (Err(error), Err(ArchiveError::EndsEarly)) => Err(error),
            (_, Err(error)) => Err(error),
        }
    })
}
