//! The number types that a network can be evaluated in: f32 for use, f64 for reference.

use candle_core::{DType, WithDType};
use num_traits::Float;

use crate::kernels::vectorized::Vectorized;

/// A number that kernels compute with.
pub trait Element: WithDType + Float + Vectorized + Send + Sync + std::iter::Sum {
    /// Nearest value of this type.
    fn of(value: f64) -> Self {
        <Self as WithDType>::from_f64(value)
    }

    /// The larger of the two; the other one where one is not a number.
    fn at_least(self, low: Self) -> Self {
        Float::max(self, low)
    }

    /// The smaller of the two; the other one where one is not a number.
    fn at_most(self, high: Self) -> Self {
        Float::min(self, high)
    }

    /// As f64, without loss.
    fn wide(self) -> f64 {
        <Self as WithDType>::to_f64(self)
    }
}

impl Element for f32 {}
impl Element for f64 {}

/// Runs a body with `T` bound to the element type of a dtype, or fails for types that are not computed in.
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::error::ModelError::operator(
                "element type",
                format!("networks are evaluated in f32 or f64, not {other:?}"),
            )),
        }
    };
}
pub(crate) use with_element;

/// Whether networks can be evaluated in this type.
pub fn is_supported(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}
