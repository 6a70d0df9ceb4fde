//! 16 lanes of f32.

use std::arch::x86_64::{
    __m256, __m512, _CMP_GT_OQ, _CMP_LT_OQ, _MM_HINT_T0, _mm_add_ps, _mm_prefetch, _mm_storeu_ps, _mm256_add_ps,
    _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castps512_ps256, _mm512_cmp_ps_mask, _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mask_cmp_ps_mask, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::lanes::Lanes;

/// The upper eight lanes.
#[inline(always)]
unsafe fn upper_half(vector: __m512) -> __m256 {
    unsafe { _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(vector))) }
}

/// AVX-512F.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512;

// SAFETY (of every block): the caller of a method of `Lanes` vouches for the processor and the pointers.
impl Lanes for Avx512 {
    type Number = f32;
    type Vector = __m512;
    const WIDTH: usize = 16;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn splat(number: f32) -> __m512 {
        unsafe { _mm512_set1_ps(number) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: __m512) {
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn subtract_product(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn at_least(vector: __m512, low: __m512) -> __m512 {
        // The instruction answers its second operand where either is not a number.
        unsafe { _mm512_max_ps(low, vector) }
    }

    #[inline(always)]
    unsafe fn at_most(vector: __m512, high: __m512) -> __m512 {
        unsafe { _mm512_min_ps(high, vector) }
    }

    #[inline(always)]
    unsafe fn where_between(vector: __m512, gate: __m512, low: __m512, high: __m512) -> __m512 {
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, low);
            let between = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, gate, high);
            _mm512_maskz_mov_ps(between, vector)
        }
    }

    #[inline(always)]
    unsafe fn where_greater(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    unsafe fn sum(vector: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(vector) }
    }

    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        unsafe {
            // Lanes of neighbours side by side, twice: each quarter of a register then has a sum of each.
            let halves = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (ab, cd) = (_mm512_castps_pd(halves(a, b)), _mm512_castps_pd(halves(c, d)));
            let quarters = [_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd)].map(|each| _mm512_castpd_ps(each));
            let quarters = _mm512_add_ps(quarters[0], quarters[1]);
            let pairs = _mm256_add_ps(_mm512_castps512_ps256(quarters), upper_half(quarters));
            let all = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            _mm_storeu_ps(sums.as_mut_ptr(), all);
        }
        sums
    }
}
