//! From a number type and the active instructions to the loop compiled for them.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::instructions::Instructions;
use super::lanes::Lanes;
use super::plain::Plain;

/// A loop over lanes.
pub(super) trait Loop<T> {
    /// Runs it.
    ///
    /// # Safety
    /// The processor must have the instructions of `L`; each loop says what else it asks for.
    unsafe fn run<L: Lanes<Number = T>>(self);
}

/// A number type with its vector registers.
pub trait Vectorized: Sized {
    /// Numbers in a register of the active instructions.
    #[doc(hidden)]
    fn width() -> usize;

    /// Rows of a tile with the active instructions.
    #[doc(hidden)]
    fn tile_rows() -> usize;

    /// Runs a loop with the active instructions.
    ///
    /// # Safety
    /// As the loop asks.
    #[doc(hidden)]
    #[allow(private_bounds)]
    unsafe fn vectorized(job: impl Loop<Self>);
}

macro_rules! by_instructions {
    ($L:ident => $value:expr) => {
        match Instructions::active() {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => {
                type $L = Avx512;
                $value
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                type $L = Avx2;
                $value
            }
            _ => {
                type $L = Plain<f32>;
                $value
            }
        }
    };
}

impl Vectorized for f32 {
    fn width() -> usize {
        by_instructions!(L => L::WIDTH)
    }

    fn tile_rows() -> usize {
        by_instructions!(L => L::ROWS)
    }

    #[allow(private_bounds)]
    unsafe fn vectorized(job: impl Loop<f32>) {
        // SAFETY: `Instructions::active` names only what this processor has; the rest is the caller's word.
        match Instructions::active() {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { with_avx512(job) },
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { with_avx2(job) },
            _ => unsafe { job.run::<Plain<f32>>() },
        }
    }
}

impl Vectorized for f64 {
    fn width() -> usize {
        Plain::<f64>::WIDTH
    }

    fn tile_rows() -> usize {
        Plain::<f64>::ROWS
    }

    #[allow(private_bounds)]
    unsafe fn vectorized(job: impl Loop<f64>) {
        // SAFETY: plain lanes ask nothing of the processor beyond what it is compiled for, and `Instructions::active`
        // names only what this processor has; the rest is the caller's word.
        match Instructions::active() {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx2 => unsafe { plain_with_avx2(job) },
            _ => unsafe { job.run::<Plain<f64>>() },
        }
    }
}

// The loop's body is inlined into these, and so compiled with their instructions.

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn with_avx512(job: impl Loop<f32>) {
    unsafe { job.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn with_avx2(job: impl Loop<f32>) {
    unsafe { job.run::<Avx2>() }
}

/// Plain lanes, of which the compiler makes registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn plain_with_avx2(job: impl Loop<f64>) {
    unsafe { job.run::<Plain<f64>>() }
}
