//! Memory that was freed, back to the machine.
//!
//! glibc keeps it for the next time, in an arena for each of many threads: after some large pushes that would be twice of what one
//! needs.
#![cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "malloc_trim is of the C library; it takes no pointer and may be called at any time"
    )
)]

/// Gives it back. Takes some milliseconds.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        unsafe { malloc_trim(0) };
    }
}
