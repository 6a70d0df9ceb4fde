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

    /// What is asked of the system for an array that goes onto a line: as much more as lets it begin on the next one, with
    /// how far it was moved right before it. (The system's own aligned allocation gives what it cut off back at once, in
    /// pieces that every other allocation then has to look through.)
    fn wider(layout: Layout) -> Option<Layout> {
        let is_worth_it = layout.size() >= Self::WORTH_ALIGNING && layout.align() <= align_of::<usize>();
        let size = layout.size().checked_add(Self::LINE).filter(|_| is_worth_it)?;
        Layout::from_size_align(size, align_of::<usize>()).ok()
    }

    /// The array within what the system gave, if it gave any.
    ///
    /// # Safety
    /// It must be as large as [`CacheLines::wider`] says.
    unsafe fn on_a_line(begin: *mut u8) -> *mut u8 {
        // SAFETY: the caller's word; there is nothing to keep.
        unsafe { Self::on_a_line_with(begin, Self::LINE, 0) }
    }

    /// The same with so many bytes at its beginning, which lie elsewhere behind what the system gave.
    ///
    /// # Safety
    /// As [`CacheLines::on_a_line`]; so many bytes must lie so far behind.
    unsafe fn on_a_line_with(begin: *mut u8, moved_before: usize, n_kept: usize) -> *mut u8 {
        if begin.is_null() {
            return begin;
        }
        let moved = Self::LINE - begin.addr() % Self::LINE;
        debug_assert!(moved >= size_of::<usize>(), "the system's arrays begin on the boundary of a number");
        // SAFETY: there are `LINE` bytes more than the array has, and it has moved by at least a number and at most those.
        unsafe {
            let array = begin.add(moved);
            if moved != moved_before {
                // Before a number is written where some of them may still lie.
                begin.add(moved_before).copy_to(array, n_kept);
            }
            array.cast::<usize>().sub(1).write(moved);
            array
        }
    }

    /// How far an array lies behind what the system gave.
    ///
    /// # Safety
    /// It must come from [`CacheLines::on_a_line`].
    unsafe fn moved(array: *mut u8) -> usize {
        // SAFETY: it was written there.
        unsafe { array.cast::<usize>().sub(1).read() }
    }
}

// SAFETY: the system's allocator does all; an array that goes onto a line lies within what it gave, whether it does follows
// from the layout alone, and it is handed back from where it began with the layout it was asked for.
#[allow(unsafe_code, reason = "an allocator is unsafe by its interface")]
unsafe impl GlobalAlloc for CacheLines {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            match Self::wider(layout) {
                Some(wider) => Self::on_a_line(System.alloc(wider)),
                None => System.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word; only what lies before the array is written.
        unsafe {
            match Self::wider(layout) {
                Some(wider) => Self::on_a_line(System.alloc_zeroed(wider)),
                None => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, array: *mut u8, layout: Layout) {
        // SAFETY: the layout that it was allocated with.
        unsafe {
            match Self::wider(layout) {
                Some(wider) => System.dealloc(array.sub(Self::moved(array)), wider),
                None => System.dealloc(array, layout),
            }
        }
    }

    unsafe fn realloc(&self, array: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's word for the size and the array; what is copied was there before and still is.
        unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            let n_kept = layout.size().min(new_size);
            match (Self::wider(layout), Self::wider(new_layout)) {
                (Some(wider), Some(new_wider)) => {
                    let moved = Self::moved(array);
                    let begin = System.realloc(array.sub(moved), wider, new_wider.size());
                    Self::on_a_line_with(begin, moved, n_kept)
                }
                (None, None) => System.realloc(array, layout, new_size),
                _ => {
                    let new = self.alloc(new_layout);
                    if !new.is_null() {
                        array.copy_to_nonoverlapping(new, n_kept);
                        self.dealloc(array, layout);
                    }
                    new
                }
            }
        }
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
        for size in [1, 100, 1023, 1024, 1251, 3 << 18] {
            let layout = Layout::array::<f32>(size).unwrap();
            let is_in_order = |array: *mut u8, n: usize| (0..n).all(|at| unsafe { array.add(at).read() } == at as u8);
            let check = |array: *mut u8, n: usize| {
                assert!(!array.is_null() && array.addr().is_multiple_of(layout.align()));
                assert!(n < 4096 || array.addr().is_multiple_of(64), "{size} numbers");
            };
            // SAFETY: the size is not zero; what is allocated is freed once, with the layout it has then.
            unsafe {
                let array = CacheLines.alloc_zeroed(layout);
                check(array, layout.size());
                assert!((0..layout.size()).all(|at| array.add(at).read() == 0));
                (0..layout.size()).for_each(|at| array.add(at).write(at as u8));
                let beside = CacheLines.alloc(layout);
                check(beside, layout.size());
                let larger = CacheLines.realloc(array, layout, 5 * layout.size());
                check(larger, 5 * layout.size());
                assert!(is_in_order(larger, layout.size()));
                let larger_layout = Layout::from_size_align(5 * layout.size(), layout.align()).unwrap();
                let smaller = CacheLines.realloc(larger, larger_layout, layout.size());
                check(smaller, layout.size());
                assert!(is_in_order(smaller, layout.size()));
                CacheLines.dealloc(beside, layout);
                CacheLines.dealloc(smaller, layout);
            }
        }
    }

    #[test]
    #[allow(unsafe_code, reason = "an allocator is unsafe by its interface")]
    fn what_was_moved_keeps_its_numbers_wherever_the_system_puts_it() {
        #[repr(align(64))]
        struct Lines([u8; 1024]);
        for (at, moved_before) in (0..64).step_by(16).flat_map(|at| (1..5).map(move |nth| (at, 16 * nth))) {
            let mut lines = Lines([0; 1024]);
            let numbers = || (0..500).map(|nth| (nth * 31) as u8);
            lines.0[at + moved_before..].iter_mut().zip(numbers()).for_each(|(byte, number)| *byte = number);
            // SAFETY: 500 bytes, a line and what is before all fit.
            let array = unsafe { CacheLines::on_a_line_with(lines.0.as_mut_ptr().add(at), moved_before, 500) };
            assert!(array.addr().is_multiple_of(64));
            let found = unsafe { std::slice::from_raw_parts(array, 500) };
            assert!(found.iter().copied().eq(numbers()), "{at}, moved by {moved_before} before");
            assert_eq!(unsafe { CacheLines::moved(array) }, 64 - at);
        }
    }
}
