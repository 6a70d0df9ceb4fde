//! Several axes as one, in logical order, as the dense layer behind expects its features.

use std::sync::Arc;

use candle_core::DType;

use super::reshape::renames_places;
use super::{Backward, Family, Operator, Reach};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// Joins the axes from `axis` on into one.
#[derive(Clone, Debug)]
pub struct Flatten {
    pub axis: usize,
}

impl Flatten {
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        if self.axis == 0 || self.axis > input.len() {
            return Err(ModelError::operator(
                "Flatten",
                format!("axis {} of shape {input:?}; the batch, axis 0, stays", self.axis),
            ));
        }
        Ok(input[..self.axis].iter().copied().chain([input[self.axis..].iter().product()]).collect())
    }
}

renames_places!(Flatten, "Flatten");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn restores_the_logical_order() {
        let image = random_value(&[2, 3, 2, 4], 1).to_channels_last().unwrap();
        check_gradients(&Flatten { axis: 1 }, std::slice::from_ref(&image));
        let flat = Flatten { axis: 1 }.forward(&[&image]).unwrap().remove(0);
        assert_eq!((flat.shape(), flat.to_f64_vec().unwrap()), (&[2, 24][..], image.to_f64_vec().unwrap()));
    }
}
