//! A tar archive from anybody. Whatever its entries are, nothing gets out of the folder that it is unpacked in.

#![no_main]

use std::fs;
use std::os::fd::AsFd as _;

use dotmesh_archive::{Counters, Rights, finish, pack, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let world = tempfile::tempdir().expect("a folder");
    let (to, outside) = (world.path().join("to"), world.path().join("outside"));
    fs::create_dir(&to).expect("a folder");
    fs::write(&outside, "secret").expect("a file");
    let folder = fs::File::open(&to).expect("it is there");
    let counters = Counters::default();
    // Most inputs lack correct checksums, and a fuzzer does not guess those.
    let mut bytes = data.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let is_own = |at: usize| (148..156).contains(&at);
            let sum = (0..512).map(|at| if is_own(at) { 32 } else { u32::from(block[at]) });
            let sum = format!("{:06o}\0", sum.sum::<u32>());
            block[148..155].copy_from_slice(sum.as_bytes());
        }
    }
    let done = unpack(&bytes[..], folder.as_fd(), Rights::Own, &counters);
    assert_eq!(fs::read_to_string(&outside).expect("it is there"), "secret");
    assert_eq!(fs::read_dir(world.path()).expect("it is there").count(), 2);
    if done.is_ok() {
        // What was unpacked can be packed, and that is read again.
        let mut packed = Vec::new();
        if pack(folder.as_fd(), b".", &mut packed, &counters).is_ok() {
            finish(&mut packed).expect("memory");
            let again = tempfile::tempdir().expect("a folder");
            let again = fs::File::open(again.path()).expect("it is there");
            let again = unpack(&packed[..], again.as_fd(), Rights::Own, &counters);
            again.expect("an archive that this project made");
        }
    }
});
