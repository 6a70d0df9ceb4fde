//! A file's bytes, which may be mapped rather than held.

use std::ops::{Deref, Range};

use rayon::prelude::*;

/// Bytes of which those that were read can be let go.
pub trait FileBytes: Deref<Target = [u8]> + Sync {
    /// These bytes will not be read again soon.
    fn release(&self, _bytes: Range<usize>) {}
}

impl FileBytes for Vec<u8> {}
impl FileBytes for &[u8] {}

/// Numbers in single precision, which lie in a file as they are used.
pub(super) fn singles(file: &(impl FileBytes + ?Sized), place: Range<usize>) -> Vec<f32> {
    // A piece is let go before the next is read, so that a mapped file and its copy are never held both.
    const PIECE: usize = 16 << 20;
    const GRAIN: usize = 1 << 16;
    let mut numbers = vec![0.0f32; place.len() / 4];
    for (nth, piece) in numbers.chunks_mut(PIECE / 4).enumerate() {
        let start = place.start + nth * PIECE;
        let bytes = start..start + piece.len() * 4;
        piece.par_chunks_mut(GRAIN).zip(file[bytes.clone()].par_chunks(4 * GRAIN)).for_each(|(piece, bytes)| {
            for (number, bytes) in piece.iter_mut().zip(bytes.chunks_exact(4)) {
                *number = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        });
        file.release(bytes);
    }
    numbers
}

/// The first number that is not finite.
pub(super) fn first_not_finite(numbers: &[f32]) -> Option<usize> {
    const GRAIN: usize = 1 << 16;
    // Without an early end within a chunk, so that it is looked at a register at a time.
    let is_finite = |chunk: &[f32]| chunk.iter().fold(true, |all, number| all & number.is_finite());
    let chunk = numbers.par_chunks(GRAIN).position_first(|chunk| !is_finite(chunk))?;
    let within = numbers[chunk * GRAIN..].iter().position(|number| !number.is_finite())?;
    Some(chunk * GRAIN + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_their_place() {
        let bytes: Vec<u8> =
            [1u8, 2, 3].into_iter().chain([1.5f32, -2.0].iter().flat_map(|n| n.to_le_bytes())).collect();
        assert_eq!(singles(&bytes, 3..11), [1.5, -2.0]);
    }

    #[test]
    fn the_first_that_is_none_is_found() {
        let mut numbers = vec![1.0; 200_000];
        assert_eq!(first_not_finite(&numbers), None);
        numbers[150_000] = f32::NAN;
        numbers[70_001] = f32::INFINITY;
        assert_eq!(first_not_finite(&numbers), Some(70_001));
    }
}
