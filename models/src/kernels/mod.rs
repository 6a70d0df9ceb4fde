//! The loops in which the time goes, over plain slices in channels-last order; operators call them.
//!
//! Read `vectorized/taps.rs`, to which every convolution comes down, then `convolution.rs`, then `frequency.rs` and
//! `winograd.rs`, which compute the same with fewer multiplications.

pub(crate) mod broadcasting;
pub(crate) mod convolution;
pub(crate) mod frequency;
pub(crate) mod pool;
mod prepared;
pub(crate) mod transpose;
pub(crate) mod vectorized;
pub(crate) mod winograd;

pub(crate) use prepared::Prepared;
