//! Finds the role that made the database, in the file of the roles: without its name nobody can connect to ask.

use crate::client::{Client, Run, whole};
use crate::error::RowsError;

const BLOCK: usize = 8192;
const PAGE_HEADER: usize = 24;

/// The object id of the role that `initdb` made.
const BOOTSTRAP: u32 = 10;

/// Names of roles that may be that one.
pub(super) fn superusers(client: &dyn Client, major: u32) -> Result<Vec<String>, RowsError> {
    let run = Run::new(["cat", &format!("{}/global/1260", crate::adapter::DATA)]);
    Ok(names(&whole(client, run)?, major))
}

fn names(file: &[u8], major: u32) -> Vec<String> {
    let mut names = Vec::new();
    for block in file.chunks_exact(BLOCK) {
        let lower = usize::from(u16::from_le_bytes([block[12], block[13]])).min(BLOCK);
        for pointer in block
            .get(PAGE_HEADER..lower)
            .unwrap_or_default()
            .chunks_exact(4)
        {
            let pointer = u32::from_le_bytes([pointer[0], pointer[1], pointer[2], pointer[3]]);
            let (at, is_normal) = ((pointer & 0x7fff) as usize, (pointer >> 15) & 3 == 1);
            let Some(tuple) = block.get(at..).filter(|_| is_normal) else {
                continue;
            };
            let Some(&header) = tuple.get(22) else {
                continue;
            };
            let data = tuple.get(usize::from(header)..).unwrap_or_default();
            // Before PostgreSQL 12 the id was no column.
            let name = match major >= 12 {
                true if data.get(..4) == Some(&BOOTSTRAP.to_le_bytes()) => data.get(4..68),
                true => None,
                false => data.get(..64),
            };
            let name = name.and_then(|name| name.split(|byte| *byte == 0).next());
            let name = name.and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.filter(|name| !name.is_empty() && !name.starts_with("pg_"))
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_role_is_found_by_its_id_and_garbage_by_nothing() {
        let mut block = vec![0_u8; BLOCK];
        block[12..14].copy_from_slice(&28_u16.to_le_bytes());
        let at = 8000_u32;
        block[24..28].copy_from_slice(&(at | 1 << 15 | 100 << 17).to_le_bytes());
        block[8022] = 24;
        block[8024..8028].copy_from_slice(&10_u32.to_le_bytes());
        block[8028..8033].copy_from_slice(b"owner");
        assert_eq!(names(&block, 15), ["owner"]);
        let garbage: Vec<u8> = (0..BLOCK * 2).map(|at| (at * 7919 % 251) as u8).collect();
        let _ = names(&garbage, 15);
        let _ = names(&garbage, 11);
    }
}
