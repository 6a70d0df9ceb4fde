//! Lanes for any processor and for f64: arrays, of which the compiler makes what it can.

use std::marker::PhantomData;

use super::lanes::Lanes;
use crate::element::Element;

const WIDTH: usize = 8;

/// Arrays as registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<T>(PhantomData<T>);

// SAFETY (of every block): the caller of a method of `Lanes` vouches for the pointers.
impl<T: Element> Lanes for Plain<T> {
    type Number = T;
    type Vector = [T; WIDTH];
    const WIDTH: usize = WIDTH;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(number: T) -> [T; WIDTH] {
        [number; WIDTH]
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> [T; WIDTH] {
        unsafe { from.cast::<[T; WIDTH]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const T) {}

    #[inline(always)]
    unsafe fn store(to: *mut T, vector: [T; WIDTH]) {
        unsafe { to.cast::<[T; WIDTH]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [T; WIDTH], b: [T; WIDTH], c: [T; WIDTH]) -> [T; WIDTH] {
        // Not fused: without the instruction a fused product is a call of a library.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    unsafe fn subtract_product(a: [T; WIDTH], b: [T; WIDTH], c: [T; WIDTH]) -> [T; WIDTH] {
        std::array::from_fn(|lane| c[lane] - a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn at_least(vector: [T; WIDTH], low: [T; WIDTH]) -> [T; WIDTH] {
        std::array::from_fn(|lane| if low[lane] > vector[lane] { low[lane] } else { vector[lane] })
    }

    #[inline(always)]
    unsafe fn at_most(vector: [T; WIDTH], high: [T; WIDTH]) -> [T; WIDTH] {
        std::array::from_fn(|lane| if high[lane] < vector[lane] { high[lane] } else { vector[lane] })
    }

    #[inline(always)]
    unsafe fn where_between(vector: [T; WIDTH], gate: [T; WIDTH], low: [T; WIDTH], high: [T; WIDTH]) -> [T; WIDTH] {
        let of_lane = |lane: usize| gate[lane] > low[lane] && gate[lane] < high[lane];
        std::array::from_fn(|lane| if of_lane(lane) { vector[lane] } else { T::zero() })
    }

    #[inline(always)]
    unsafe fn where_greater(a: [T; WIDTH], b: [T; WIDTH], yes: [T; WIDTH], no: [T; WIDTH]) -> [T; WIDTH] {
        std::array::from_fn(|lane| if a[lane] > b[lane] { yes[lane] } else { no[lane] })
    }

    #[inline(always)]
    unsafe fn sum(vector: [T; WIDTH]) -> T {
        vector.into_iter().sum()
    }
}
