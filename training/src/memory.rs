//! Each step allocates and frees as much as the one before; new memory from the system costs more than what is computed
//! into it, so what is freed is kept.

/// Has the allocator keep large blocks that are freed; to be called before there are threads.
#[allow(unsafe_code, reason = "the C library's options have no other interface; they are set before there are threads")]
pub(crate) fn keep_what_is_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 1 << 30), (libc::M_TRIM_THRESHOLD, i32::MAX)]
    {
        // SAFETY: `mallopt` takes any numbers; it refuses those that it cannot follow, which leaves its defaults.
        unsafe { libc::mallopt(option, value) };
    }
}
