//! SQL about the ids of objects. An id is the id of the object's pack, times 1048576, plus the object's number in it
//! ([`crate::ids::ObjectId`]).

/// `BETWEEN …`: the ids of the objects of a pack.
macro_rules! between_ids_of {
    ($pack:literal) => {
        concat!(
            "BETWEEN ",
            $pack,
            " * 1048576 AND ",
            $pack,
            " * 1048576 + 1048575"
        )
    };
}
pub(crate) use between_ids_of;

/// The id of the pack that an object is in.
macro_rules! pack_of {
    ($object:literal) => {
        concat!($object, " / 1048576")
    };
}
pub(crate) use pack_of;

/// The id of the object that has in pack `$pack` the number that `$object` has in its own pack.
macro_rules! same_in_pack {
    ($pack:literal, $object:literal) => {
        concat!($pack, " * 1048576 + ", $object, " % 1048576")
    };
}
pub(crate) use same_in_pack;

#[cfg(test)]
mod tests {
    use crate::ids::ObjectId;

    #[test]
    fn the_factor_is_that_of_the_ids() {
        let factor = format!("/ {}", 1_u64 << ObjectId::NUMBER_BITS);
        assert!(pack_of!("object").ends_with(&factor));
    }
}
