//! How a program that computes gets its memory: kept when freed, and arrays on the boundary of a cache line.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with every array of a page or more on the boundary of a cache line.
///
/// The system's own arrays begin 16 bytes past one, so that every second load and store of a register touches two lines:
/// a depthwise convolution then takes up to one and a half times as long. A program says so once:
/// `#[global_allocator] static ALLOCATOR: CacheLines = CacheLines;`
#[derive(Clone, Copy, Debug)]
pub struct CacheLines;

impl CacheLines {
    const LINE: usize = 64;

    /// What is smaller has more to lose by an allocation that takes longer than to gain.
    const WORTH_ALIGNING: usize = 4096;

    fn on_a_line(layout: Layout) -> Layout {
        match layout.size() {
            0..Self::WORTH_ALIGNING => layout,
            _ => layout.align_to(Self::LINE).unwrap_or(layout),
        }
    }
}

// SAFETY: the system's allocator does all; what it gives for a stricter alignment serves the layout that was asked, and it
// is handed back with the alignment that it was asked with, which follows from the size.
#[allow(unsafe_code, reason = "an allocator is unsafe by its interface")]
unsafe impl GlobalAlloc for CacheLines {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word; the size is the same.
        unsafe { System.alloc(Self::on_a_line(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word; the size is the same.
        unsafe { System.alloc_zeroed(Self::on_a_line(layout)) }
    }

    unsafe fn dealloc(&self, array: *mut u8, layout: Layout) {
        // SAFETY: the layout that it was allocated with.
        unsafe { System.dealloc(array, Self::on_a_line(layout)) }
    }
}

/// Has the allocator keep large blocks that are freed, for the next ones; to be called before there are threads.
///
/// One heap serves all threads, so that what one of them freed any other finds.
#[allow(unsafe_code, reason = "the C library's options have no other interface; they are set before there are threads")]
pub fn keep_what_is_freed() {
    // The largest threshold that the C library takes.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 32 << 20), (libc::M_TRIM_THRESHOLD, 1 << 30)]
    {
        // SAFETY: `mallopt` takes any numbers; it refuses those that it cannot follow, which leaves its defaults.
        unsafe { libc::mallopt(option, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "an allocator is unsafe by its interface")]
    fn large_arrays_begin_on_a_line_and_small_ones_as_asked() {
        for size in [1, 100, 4095, 4096, 5001, 3 << 20] {
            let layout = Layout::array::<f32>(size).unwrap();
            // SAFETY: the size is not zero; what is allocated is freed once, with the layout it has then.
            unsafe {
                let array = CacheLines.alloc_zeroed(layout);
                assert!(!array.is_null() && array.addr().is_multiple_of(layout.align()));
                assert!(layout.size() < 4096 || array.addr().is_multiple_of(64), "{size} numbers");
                assert!((0..layout.size()).all(|at| array.add(at).read() == 0));
                array.write_bytes(7, layout.size());
                let larger = CacheLines.realloc(array, layout, 2 * layout.size());
                assert!(!larger.is_null() && (0..layout.size()).all(|at| larger.add(at).read() == 7));
                CacheLines.dealloc(larger, Layout::from_size_align(2 * layout.size(), layout.align()).unwrap());
            }
        }
    }
}
