//! Returns freed memory to the system.
//!
//! glibc keeps freed memory for reuse, in an arena for each of many threads. Since one thread frees what another
//! allocated, most arenas would grow to the size that the largest transfer needs.
#![cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "mallopt and malloc_trim are C library functions that take no pointers and may be called at any time"
    )
)]

#[cfg(target_env = "gnu")]
mod glibc {
    use std::ffi::c_int;

    /// From `malloc.h`.
    pub(super) const M_ARENA_MAX: c_int = -8;

    unsafe extern "C" {
        pub(super) fn mallopt(param: c_int, value: c_int) -> c_int;
        pub(super) fn malloc_trim(pad: usize) -> c_int;
    }
}

/// Makes all threads share a few arenas. Must be called before any thread starts.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: std::ffi::c_int = 2;
        unsafe { glibc::mallopt(glibc::M_ARENA_MAX, ARENAS) };
    }
}

/// Returns free memory to the system. Takes some milliseconds.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    unsafe {
        glibc::malloc_trim(0)
    };
}
