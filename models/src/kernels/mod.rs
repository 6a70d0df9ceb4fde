//! The loops in which the time goes, over plain slices in channels-last order; operators call them.
//!
//! Read `vectorized/taps.rs`, to which every convolution comes down whose channels mix, then `convolution.rs`, then
//! `frequency.rs` and `winograd.rs`, which compute the same with fewer multiplications; `depthwise.rs` is where channels
//! stay by themselves, `weight_gradient.rs` is for training.

pub(crate) mod broadcasting;
pub(crate) mod convolution;
mod depthwise;
pub(crate) mod frequency;
mod frequency_weight_gradient;
pub(crate) mod pool;
mod prepared;
pub(crate) mod sequence;
pub(crate) mod transpose;
pub(crate) mod vectorized;
mod waves;
pub(crate) mod weight_gradient;
pub(crate) mod winograd;

use rayon::prelude::*;

use crate::element::Element;

pub(crate) use prepared::Prepared;

/// How many of `n` tasks of one size a thread takes at once at most.
///
/// Left to itself rayon halves work until each thread has two parts: who is late with the last of four keeps all others
/// waiting for a quarter of the whole.
pub(crate) fn at_once(n: usize) -> usize {
    const PARTS_PER_THREAD: usize = 8;
    n.div_ceil(PARTS_PER_THREAD * rayon::current_num_threads()).max(1)
}

/// So many zeros for a result, written by all threads: to clear large memory takes as long as many a kernel.
pub(crate) fn zeros<T: Element>(n: usize) -> Vec<T> {
    const WORTH_SHARING: usize = 1 << 18;
    if n < WORTH_SHARING {
        return vec![T::zero(); n];
    }
    rayon::iter::repeat_n(T::zero(), n).with_min_len(WORTH_SHARING / 4).collect()
}
