//! A vector register, as far as the kernels need one.

use crate::element::Element;

/// What a cache fetches at once.
pub(super) const BYTES_OF_LINE: usize = 64;

/// Several numbers in one register.
///
/// # Safety
/// Every method may only run on a processor that has the instructions; pointers must be valid for `WIDTH` numbers (no
/// alignment is asked).
pub(crate) trait Lanes {
    /// What the lanes hold.
    type Number: Element;
    /// The register.
    type Vector: Copy;
    /// Numbers in a register.
    const WIDTH: usize;
    /// Rows of a tile of two registers a row whose sums, with the registers that feed them, fit the register file.
    const ROWS: usize;

    unsafe fn splat(number: Self::Number) -> Self::Vector;
    unsafe fn load(from: *const Self::Number) -> Self::Vector;
    /// Has the cache fetch what will be loaded.
    unsafe fn prefetch(from: *const Self::Number);
    unsafe fn store(to: *mut Self::Number, vector: Self::Vector);
    /// `a · b + c`
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `c - a · b`
    unsafe fn subtract_product(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger in each lane; what is not a number stays so where it is in `vector`.
    unsafe fn at_least(vector: Self::Vector, low: Self::Vector) -> Self::Vector;
    /// The smaller in each lane; what is not a number stays so where it is in `vector`.
    unsafe fn at_most(vector: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// `vector` where `low < gate < high`, else zero.
    unsafe fn where_between(
        vector: Self::Vector,
        gate: Self::Vector,
        low: Self::Vector,
        high: Self::Vector,
    ) -> Self::Vector;
    /// `yes` where `a > b`, else `no`.
    unsafe fn where_greater(a: Self::Vector, b: Self::Vector, yes: Self::Vector, no: Self::Vector) -> Self::Vector;

    /// The sum over the lanes.
    unsafe fn sum(vector: Self::Vector) -> Self::Number;

    /// The sums over the lanes of four registers.
    #[inline(always)]
    unsafe fn sums(vectors: [Self::Vector; 4]) -> [Self::Number; 4] {
        // SAFETY: the caller's word.
        vectors.map(|vector| unsafe { Self::sum(vector) })
    }
}
