//! The innermost loops, written once over [`lanes::Lanes`] and compiled for AVX-512, AVX2 and any processor; which of
//! them runs is decided when the program starts.
//!
//! Everything unsafe of this crate is here, for two reasons: vector instructions and raw rows are what makes these
//! loops fast, and threads write to interleaved but disjoint parts of one output. Every function that leaves this
//! module checks all places it will read and write before the loops start, and is safe, but for the last word on memory
//! that was not cleared: whoever had all of it written says so (`unwritten::written`).

// Several arrays of registers are walked by one index.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod finish;
mod instructions;
mod lanes;
pub(crate) mod matrix;
pub(crate) mod packed;
mod plain;
pub(crate) mod pool;
pub(crate) mod rows;
mod run;
pub(crate) mod taps;
pub(crate) mod unwritten;
pub(crate) mod wave_gradient;
pub(crate) mod winograd;

pub(crate) use run::Vectorized;
