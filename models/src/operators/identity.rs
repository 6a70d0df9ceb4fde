//! What leaves numbers as they are outside training, such as dropout.

use std::sync::Arc;

use candle_core::DType;

use super::{Backward, Family, Operator};
use crate::error::Result;
use crate::value::Value;

/// Passes its input on; `kind` is what the source called it (`Identity`, `Dropout`).
#[derive(Clone, Debug)]
pub struct Identity {
    pub kind: &'static str,
}

impl Operator for Identity {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn family(&self) -> Family {
        Family::Rearrangement
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        Ok(vec![inputs[0].clone()])
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Backward::only(backward.gradient()?.clone())
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(self.clone()))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}
