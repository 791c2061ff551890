//! Generated data, the same in every run: compressible text, and incompressible bytes.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Result;

/// The size of a page, and of each random rewrite.
pub(crate) const PAGE: usize = 4096;

/// The number of files in a folder.
const FILES_IN_A_FOLDER: usize = 100;

/// Pseudo-random numbers (SplitMix64), the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number between 0 and 1, both excluded.
    fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A number from the normal distribution (Box-Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.fraction().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.fraction()).cos()
    }

    /// Incompressible bytes.
    pub(crate) fn noise(&mut self, into: &mut [u8]) {
        for bytes in into.chunks_mut(8) {
            bytes.copy_from_slice(&self.next().to_le_bytes()[..bytes.len()]);
        }
    }

    /// Made-up words, which compress to about a third.
    fn text(&mut self, into: &mut [u8]) {
        const SYLLABLES: &[u8; 64] =
            b"bacedifogubamenipodurasetilovumakelimonupareshitoluvewixyozaquth";
        let mut rest = into;
        while !rest.is_empty() {
            // Small numbers are more frequent, so some words are.
            let bits = 4 + self.below(10);
            let mut word = self.below(1 << bits);
            let mut bytes = [b' '; 8];
            for pair in bytes[..6].chunks_mut(2) {
                let at = (word as usize % 32) * 2;
                pair.copy_from_slice(&SYLLABLES[at..at + 2]);
                word /= 32;
            }
            let length = rest.len().min(7);
            rest[..length].copy_from_slice(&bytes[..length]);
            rest = &mut rest[length..];
        }
    }
}

/// Images: incompressible files of 100 to 300 kB.
pub(crate) fn images(folder: &Path, count: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut random = Random(1);
    for number in 0..count {
        let mut image = vec![0; 100_000 + random.below(200_000) as usize];
        random.noise(&mut image);
        fs::write(folder.join(format!("{number:05}.jpg")), image)?;
    }
    Ok(())
}

/// Small files, half of them text. Their average size is 17 kB, with many small and a few large ones (log-normal).
pub(crate) fn small_files(folder: &Path, count: usize) -> Result<()> {
    const SPREAD: f64 = 1.5;
    let middle = 17_000f64.ln() - SPREAD * SPREAD / 2.0;
    let mut random = Random(2);
    for number in 0..count {
        let folder = folder.join(format!("{:03}", number / FILES_IN_A_FOLDER));
        if number % FILES_IN_A_FOLDER == 0 {
            fs::create_dir_all(&folder)?;
        }
        let size = (middle + SPREAD * random.normal()).exp().min(4e6);
        let mut file = vec![0; size as usize];
        if number % 2 == 0 {
            random.text(&mut file);
        } else {
            random.noise(&mut file);
        }
        fs::write(folder.join(format!("{number:06}")), file)?;
    }
    Ok(())
}

/// One file with alternating blocks of text and noise.
pub(crate) fn large_file(path: &Path, size: usize) -> Result<()> {
    let mut random = Random(3);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut block = vec![0; 1 << 16];
    for number in 0..size / block.len() {
        if number % 2 == 0 {
            random.text(&mut block);
        } else {
            random.noise(&mut block);
        }
        file.write_all(&block)?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// Overwrites one page in a hundred with noise, and returns the number of bytes.
pub(crate) fn rewrite_pages(path: &Path) -> Result<u64> {
    let file = File::options().write(true).open(path)?;
    let pages = file.metadata()?.len() / PAGE as u64;
    let mut random = Random(4);
    let mut page = [0; PAGE];
    let mut chosen = std::collections::BTreeSet::new();
    while (chosen.len() as u64) < pages / 100 {
        chosen.insert(random.below(pages));
    }
    for number in &chosen {
        random.noise(&mut page);
        file.write_all_at(&page, number * PAGE as u64)?;
    }
    file.sync_all()?;
    Ok((chosen.len() * PAGE) as u64)
}

/// Redis commands that set keys to values of 100 bytes, for `redis-cli --pipe`.
pub(crate) fn redis_commands(keys: std::ops::Range<usize>) -> Vec<u8> {
    let mut random = Random(keys.start as u64);
    let mut commands = Vec::new();
    let mut value = [0; 100];
    for number in keys {
        random.text(&mut value[..50]);
        random.noise(&mut value[50..]);
        let key = format!("key:{number:010}");
        let head = format!("*3\r\n$3\r\nSET\r\n$14\r\n{key}\r\n$100\r\n");
        commands.extend_from_slice(head.as_bytes());
        commands.extend_from_slice(&value);
        commands.extend_from_slice(b"\r\n");
    }
    commands
}
