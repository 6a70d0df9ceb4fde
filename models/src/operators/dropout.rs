//! Dropout (Srivastava et al. 2014) while training: numbers are left out by chance, the others grow to make up for them.

use std::sync::Arc;

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::{Backward, Family, Operator};
use crate::device::{DropoutOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::vectorized::elementwise::GRAIN;
use crate::kernels::zeros;
use crate::value::{Layout, Value};

/// Leaves out each number with this probability; which ones follows from the seed and the number's place alone, so that
/// the way back needs nothing kept.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    probability: f64,
    seed: u64,
}

impl Dropout {
    /// A probability from 0 up to but not 1.
    pub fn new(probability: f64, seed: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            let reason = format!("a probability of {probability}; it must be at least 0 and below 1");
            return Err(ModelError::operator("Dropout", reason));
        }
        Ok(Dropout { probability, seed })
    }

    /// The same with other numbers left out.
    pub fn with_seed(&self, seed: u64) -> Self {
        Dropout { seed, ..*self }
    }

    /// How the number at a place counts: not at all, or more.
    fn weighed<T: Element>(&self, numbers: &[T], first: usize, weighed: &mut [T]) {
        let (least, factor) = ((self.probability * 2f64.powi(32)) as u32, T::of(1.0 / (1.0 - self.probability)));
        let seed = (self.seed ^ (self.seed >> 32)) as u32;
        for (nth, (weighed, &number)) in weighed.iter_mut().zip(numbers).enumerate() {
            let counts = mixed((first + nth) as u32 ^ seed) >= least;
            *weighed = if counts { number * factor } else { T::zero() };
        }
    }

    /// # Shapes
    /// - `value`: `[pair, …]`, `rows`: the row of each pair
    fn of_rows<T: Element>(&self, value: &Value, rows: impl Fn(usize) -> usize + Sync) -> Result<Value> {
        let value = value.to_channels_last()?;
        let row_length = (value.len() / value.batch().max(1)).max(1);
        let numbers = value.numbers::<T>()?;
        let mut weighed = zeros(numbers.len());
        let pairs = weighed.chunks_mut(row_length).zip(numbers.chunks(row_length)).enumerate();
        for (pair, (weighed, numbers)) in pairs {
            let first = rows(pair) * row_length;
            let chunks = weighed.par_chunks_mut(GRAIN).zip(numbers.par_chunks(GRAIN)).enumerate();
            chunks.for_each(|(nth, (weighed, numbers))| self.weighed(numbers, first + nth * GRAIN, weighed));
        }
        let layout = if value.shape().len() < 3 { Layout::Logical } else { Layout::ChannelsLast };
        Value::from_vec(weighed, value.shape(), layout)
    }
}

/// MurmurHash3's last step (Appleby 2011): a counter in, well mixed bits out, and vectors of them at once.
fn mixed(counter: u32) -> u32 {
    let h = counter.wrapping_mul(0x9E37_79B9);
    let h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    let h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

impl Operator for Dropout {
    fn kind(&self) -> &'static str {
        "Dropout"
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.of_rows::<T>(inputs[0], |row| row)?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = backward.gradient()?;
        with_element!(gradient.dtype(), T => Backward::only(self.of_rows::<T>(gradient, |pair| backward.rows[pair])?))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        let form = DropoutOnDevice::of(self.probability, self.seed, device)?;
        Some(Ok(Arc::new(form)))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(*self))
    }

    fn as_dropout(&self) -> Option<&Dropout> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::random_value;

    #[test]
    fn the_share_asked_is_left_out_and_the_mean_stays() {
        let ones = Value::full(1.0f32, &[4, 25, 1000], Layout::ChannelsLast).unwrap();
        let dropped = Dropout::new(0.2, 7).unwrap().forward(&[&ones]).unwrap().remove(0).to_f64_vec().unwrap();
        let share = dropped.iter().filter(|number| **number == 0.0).count() as f64 / 1e5;
        assert!((share - 0.2).abs() < 0.005, "{share}");
        assert!((dropped.iter().sum::<f64>() / 1e5 - 1.0).abs() < 0.01);
    }

    #[test]
    fn the_gradient_passes_where_the_numbers_did() {
        let x = random_value(&[2, 3, 40], 1);
        let dropout = Dropout::new(0.5, 3).unwrap();
        let output = dropout.forward(&[&x]).unwrap().remove(0);
        let values = crate::operators::gradient_check::Given { inputs: std::slice::from_ref(&x), outputs: &[] };
        let backward = Backward {
            values: &values,
            gradients: &[Some(x.select_rows(&[1, 0, 1]).unwrap())],
            rows: &[1, 0, 1],
            wanted: &[true],
        };
        let passed = dropout.input_gradients(&backward).unwrap().remove(0).unwrap();
        let expected = output.select_rows(&[1, 0, 1]).unwrap().to_f64_vec().unwrap();
        assert_eq!(passed.to_f64_vec().unwrap(), expected, "it is linear in what comes in");
        assert_ne!(dropout.with_seed(4).forward(&[&x]).unwrap()[0].to_f64_vec().unwrap(), output.to_f64_vec().unwrap());
    }

    #[test]
    fn a_probability_beyond_its_range_is_refused() {
        let error = Dropout::new(1.0, 0).unwrap_err();
        assert_eq!(error.to_string(), "Dropout: a probability of 1; it must be at least 0 and below 1");
    }
}
