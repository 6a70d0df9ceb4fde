//! The place where a network's input enters.

use std::sync::Arc;

use candle_core::DType;

use super::{Backward, Family, Operator};
use crate::error::{ModelError, Result};
use crate::graph::Dim;
use crate::value::Value;

/// An input with its declared shape, without the batch axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub shape: Vec<Dim>,
}

impl Operator for Input {
    fn kind(&self) -> &'static str {
        "Input"
    }

    fn family(&self) -> Family {
        Family::Input
    }

    fn output_shapes(&self, _inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Err(ModelError::operator("Input", "its shape is the caller's"))
    }

    fn forward(&self, _inputs: &[&Value]) -> Result<Vec<Value>> {
        Err(ModelError::operator("Input", "its value is the caller's"))
    }

    fn input_gradients(&self, _backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Ok(Vec::new())
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }

    fn as_input(&self) -> Option<&Input> {
        Some(self)
    }
}
