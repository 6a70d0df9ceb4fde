//! 8 lanes of f32.

use std::arch::x86_64::{
    __m256, _CMP_GT_OQ, _CMP_LT_OQ, _MM_HINT_T0, _mm_add_ps, _mm_prefetch, _mm_storeu_ps, _mm256_and_ps,
    _mm256_blendv_ps, _mm256_castps256_ps128, _mm256_cmp_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps,
    _mm256_hadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_ps, _mm256_storeu_ps,
};

use super::lanes::Lanes;

/// AVX2 with FMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2;

// SAFETY (of every block): the caller of a method of `Lanes` vouches for the processor and the pointers.
impl Lanes for Avx2 {
    type Number = f32;
    type Vector = __m256;
    const WIDTH: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(number: f32) -> __m256 {
        unsafe { _mm256_set1_ps(number) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: __m256) {
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn subtract_product(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn at_least(vector: __m256, low: __m256) -> __m256 {
        // The instruction answers its second operand where either is not a number.
        unsafe { _mm256_max_ps(low, vector) }
    }

    #[inline(always)]
    unsafe fn at_most(vector: __m256, high: __m256) -> __m256 {
        unsafe { _mm256_min_ps(high, vector) }
    }

    #[inline(always)]
    unsafe fn where_between(vector: __m256, gate: __m256, low: __m256, high: __m256) -> __m256 {
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(gate, low);
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(gate, high);
            _mm256_and_ps(vector, _mm256_and_ps(above, below))
        }
    }

    #[inline(always)]
    unsafe fn where_greater(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }

    #[inline(always)]
    unsafe fn sum(vector: __m256) -> f32 {
        let mut lanes = [0.0f32; 8];
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), vector) };
        lanes.iter().sum()
    }

    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        unsafe {
            // Sums of neighbours, twice: each half of a register then has a sum of each.
            let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let all = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            _mm_storeu_ps(sums.as_mut_ptr(), all);
        }
        sums
    }
}
