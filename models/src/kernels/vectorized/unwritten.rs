//! Memory that is written before it is read, so that nobody clears it: to clear what a kernel is about to fill takes as
//! long as many a kernel.

use std::mem::MaybeUninit;

use crate::element::Element;

/// Room for so many numbers.
pub(crate) fn unwritten<T: Element>(n: usize) -> Vec<MaybeUninit<T>> {
    let mut room = Vec::with_capacity(n);
    // SAFETY: there is room for so many, and what may be unwritten need not be written.
    unsafe { room.set_len(n) };
    room
}

/// The numbers, once all of them are written.
///
/// # Safety
/// All of them must be.
pub(crate) unsafe fn written<T: Element>(room: Vec<MaybeUninit<T>>) -> Vec<T> {
    let mut room = std::mem::ManuallyDrop::new(room);
    // SAFETY: the parts are those of a vector that nobody else has any more, and the caller vouches for the numbers.
    unsafe { Vec::from_raw_parts(room.as_mut_ptr().cast(), room.len(), room.capacity()) }
}

/// As [`written`], of a part.
///
/// # Safety
/// All of them must be written.
pub(crate) unsafe fn written_part<T: Element>(room: &[MaybeUninit<T>]) -> &[T] {
    // SAFETY: the caller's word.
    unsafe { std::slice::from_raw_parts(room.as_ptr().cast(), room.len()) }
}
