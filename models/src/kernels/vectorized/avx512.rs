//! 16 lanes of f32.

use std::arch::x86_64::{
    __m512, _CMP_GT_OQ, _CMP_LT_OQ, _MM_HINT_T0, _mm_prefetch, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_blend_ps, _mm512_mask_cmp_ps_mask, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

use super::lanes::Lanes;

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
}
