//! Keeps the process from holding on to memory that was freed.
//!
//! glibc keeps it for the next time, in an arena for each of many threads. What one thread took another gives back, so that most
//! arenas come to hold as much as the largest transfer needed of any.
#![cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "mallopt and malloc_trim are of the C library; they take no pointers and may be called at any time"
    )
)]

#[cfg(target_env = "gnu")]
mod glibc {
    use std::ffi::c_int;

    /// Of `malloc.h`.
    pub(super) const M_ARENA_MAX: c_int = -8;

    unsafe extern "C" {
        pub(super) fn mallopt(param: c_int, value: c_int) -> c_int;
        pub(super) fn malloc_trim(pad: usize) -> c_int;
    }
}

/// Has all threads share a few arenas. To be called before there are any.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: std::ffi::c_int = 2;
        unsafe { glibc::mallopt(glibc::M_ARENA_MAX, ARENAS) };
    }
}

/// Gives it back. Takes some milliseconds.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    unsafe {
        glibc::malloc_trim(0)
    };
}
