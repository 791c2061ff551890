//! Chooses the packs of a namespace that are worth a repack.

use dotmesh_hub_db::repack::Candidate;

/// What a repack makes of a pack that was pushed, as a guess: one part in so many.
const SHRINKS: u64 = 3;

/// Returns the packs to repack together. They have at most `most` objects, unless the first alone has more.
///
/// - Packs that were never repacked, and those of which less than half is needed, are always repacked, in their order.
/// - With them go packs of earlier repacks that are not larger than what came so far. So a byte is written a few times
///   over the years, not with each push.
/// - Once the packs that build on others are as large as those that they build on, all are written anew.
pub(super) fn choose(candidates: &[Candidate], most: u64) -> Vec<Candidate> {
    // A base keeps its file as long as others build on it, so writing it anew by itself frees nothing.
    let waits = |pack: &Candidate| !pack.repacked || (pack.mostly_garbage && !pack.is_base);
    let mut chosen = Vec::new();
    let mut objects = 0;
    for pack in candidates.iter().filter(|pack| waits(pack)) {
        if !chosen.is_empty() && objects + pack.objects > most {
            return chosen;
        }
        objects += pack.objects;
        chosen.push(*pack);
    }
    if chosen.is_empty() {
        return chosen;
    }
    let length = |pack: &Candidate| match pack.repacked {
        true => pack.length,
        false => pack.length / SHRINKS,
    };
    let mut grown: u64 = chosen.iter().map(length).sum();
    let mut others: Vec<Candidate> = candidates
        .iter()
        .filter(|pack| !waits(pack))
        .copied()
        .collect();
    let all = objects + others.iter().map(|pack| pack.objects).sum::<u64>();
    let of = |based: bool| {
        let packs = others.iter().filter(|pack| pack.based == based);
        packs.map(|pack| pack.length).sum::<u64>()
    };
    if all <= most && grown + of(true) >= of(false) {
        chosen.extend(others);
        return chosen;
    }
    others.retain(|pack| !pack.is_base);
    others.sort_by_key(|pack| (pack.length, pack.pack));
    for pack in others {
        if pack.length > grown || objects + pack.objects > most {
            break;
        }
        grown += pack.length;
        objects += pack.objects;
        chosen.push(pack);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use dotmesh_hub_db::ids::PackRow;
    use dotmesh_store::PackId;

    use super::*;

    fn pushed(number: i64, length: u64) -> Candidate {
        Candidate {
            pack: PackRow::from_number(number),
            name: PackId::of(&number.to_le_bytes()),
            objects: 10,
            length,
            repacked: false,
            based: false,
            is_base: false,
            mostly_garbage: false,
        }
    }

    fn repacked(number: i64, length: u64) -> Candidate {
        Candidate {
            repacked: true,
            ..pushed(number, length)
        }
    }

    fn based(number: i64, length: u64) -> Candidate {
        Candidate {
            based: true,
            ..repacked(number, length)
        }
    }

    fn base(number: i64, length: u64) -> Candidate {
        Candidate {
            is_base: true,
            ..repacked(number, length)
        }
    }

    fn numbers(candidates: &[Candidate], most: u64) -> Vec<i64> {
        let chosen = choose(candidates, most);
        chosen.iter().map(|pack| pack.pack.number()).collect()
    }

    #[test]
    fn nothing_is_written_without_cause() {
        assert!(numbers(&[base(1, 900), based(2, 5), based(3, 5)], 1000).is_empty());
        assert!(numbers(&[], 1000).is_empty());
    }

    #[test]
    fn what_was_pushed_comes_in_order_and_in_parts() {
        let packs = [pushed(1, 30), pushed(2, 30), pushed(3, 30)];
        assert_eq!(numbers(&packs, 1000), [1, 2, 3]);
        assert_eq!(numbers(&packs, 25), [1, 2]);
        assert_eq!(numbers(&packs, 5), [1]);
    }

    #[test]
    fn a_small_push_goes_with_the_small_packs_of_others() {
        let packs = [base(1, 9000), based(2, 9), based(3, 700), pushed(4, 30)];
        assert_eq!(numbers(&packs, 1000), [4, 2]);
        let packs = [base(1, 9000), based(2, 9), based(3, 15), pushed(4, 30)];
        assert_eq!(numbers(&packs, 1000), [4, 2, 3]);
    }

    #[test]
    fn when_the_changes_are_as_large_as_their_bases_all_is_written_anew() {
        let packs = [base(1, 900), based(2, 500), based(3, 390), pushed(4, 30)];
        assert_eq!(numbers(&packs, 1000), [4, 1, 2, 3]);
        // Too many to do it at once.
        assert_eq!(numbers(&packs, 35), [4]);
    }

    #[test]
    fn what_is_mostly_garbage_shrinks_unless_others_build_on_it() {
        let garbage = |pack: Candidate| Candidate {
            mostly_garbage: true,
            ..pack
        };
        assert_eq!(
            numbers(&[base(1, 900), garbage(repacked(2, 50))], 1000),
            [2]
        );
        assert!(numbers(&[garbage(base(1, 900)), based(2, 50)], 1000).is_empty());
    }
}
