//! Giving memory back: a watcher runs for months, and one large save must not leave it large.
//!
//! The allocator of glibc keeps what was freed, for each thread that ever had it.

/// From this size on a freed buffer (the index of a large repository) goes back to the system at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BUFFER_BYTES: libc::c_int = 1 << 20;

/// Lets large buffers go back to the system when they are freed.
pub(super) fn return_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it sets one number of the allocator, which may be done at any time.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES);
    }
}

/// Gives what is free back to the system; takes some milliseconds.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only looks through what is free, under the allocator's own locks.
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}
