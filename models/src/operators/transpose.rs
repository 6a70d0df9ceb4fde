//! Axes in another order.

use std::sync::Arc;

use candle_core::DType;

use super::{AxisKind, Backward, Family, Operator, Reach};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// Output axis `i` is input axis `order[i]`; the batch stays first.
#[derive(Clone, Debug)]
pub struct Transpose {
    pub order: Vec<usize>,
}

impl Operator for Transpose {
    fn kind(&self) -> &'static str {
        "Transpose"
    }

    fn family(&self) -> Family {
        Family::Rearrangement
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        let is_permutation = sorted.iter().copied().eq(0..inputs[0].len());
        if !is_permutation || self.order[0] != 0 {
            return Err(ModelError::operator(
                "Transpose",
                format!("order {:?} for shape {:?}; each axis once, the batch first", self.order, inputs[0]),
            ));
        }
        Ok(vec![self.order.iter().map(|&axis| inputs[0][axis]).collect()])
    }

    fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
        match inputs.first() {
            Some(axes) if axes.len() == rank => self.order.iter().map(|&axis| axes[axis]).collect(),
            _ => AxisKind::by_rank(rank),
        }
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        Ok(vec![inputs[0].permute(&self.order)?])
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut back = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        Backward::only(backward.gradient()?.permute(&back)?)
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn there_and_back() {
        check_gradients(
            &Transpose { order: vec![0, 2, 1] },
            &[random_value(&[2, 3, 5], 1).to_channels_last().unwrap()],
        );
        check_gradients(&Transpose { order: vec![0, 3, 1, 2] }, &[random_value(&[2, 3, 4, 5], 2)]);
    }
}
