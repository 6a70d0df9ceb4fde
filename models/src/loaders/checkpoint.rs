//! Weights by name, from a file or drawn at random, for the builders of the zoo.

use candle_core::{Device, Tensor};

use super::LoadError;
use super::file_bytes::first_not_finite;

/// Named weights in f32, in the file's order.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    tensors: Vec<(String, Tensor)>,
}

impl Checkpoint {
    /// No weights.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more weight; a number that is none is an error.
    pub fn insert(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) -> Result<(), LoadError> {
        let what = || format!("weights `{name}`");
        if let Some(index) = first_not_finite(&numbers) {
            let reason = format!("number {index} is {}; every weight must be finite", numbers[index]);
            return Err(LoadError::Corrupt { what: what(), reason });
        }
        // Steps along axes are products of axes, which can overflow even where one axis has no length.
        if shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis.max(1))).is_none() {
            let reason = format!("its shape {shape:?} does not fit into memory");
            return Err(LoadError::Corrupt { what: what(), reason });
        }
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu);
        let tensor = tensor.map_err(|error| LoadError::Corrupt { what: what(), reason: error.to_string() })?;
        self.tensors.push((name.to_owned(), tensor));
        Ok(())
    }

    /// The names, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    /// The weight of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }
}

/// Where a builder's weights come from.
#[derive(Debug)]
pub struct Weights {
    source: Source,
    missing: Vec<String>,
    wrong_shape: Vec<String>,
}

#[derive(Debug)]
enum Source {
    File { left: Vec<(String, Tensor)> },
    Random { seed: u64 },
}

/// How random weights are drawn where a file gives none; PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Uniform between ±1/√n, with n the inputs of one output (He et al. 2015, with a = √5).
    Uniform { fan_in: usize },
    /// The same number everywhere.
    Constant(f32),
}

impl Weights {
    /// From a file; what the builder does not take is an error at the end.
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        Weights { source: Source::File { left: checkpoint.tensors }, missing: vec![], wrong_shape: vec![] }
    }

    /// At random; one seed gives the same weights on every machine.
    pub fn random(seed: u64) -> Self {
        Weights { source: Source::Random { seed }, missing: vec![], wrong_shape: vec![] }
    }

    /// The weight of a name. Where the file lacks it or has another shape that is noted, and the builder goes on, so that
    /// [`Weights::finish`] can tell of all at once.
    pub fn take(&mut self, name: &str, shape: &[usize], initial: Initial) -> Result<Tensor, LoadError> {
        let zeros = || Ok(Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?);
        match &mut self.source {
            Source::Random { seed } => {
                let numbers = drawn(*seed, name, shape.iter().product(), initial);
                Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
            }
            Source::File { left } => match left.iter().position(|(known, _)| known == name) {
                None => {
                    self.missing.push(name.to_owned());
                    zeros()
                }
                Some(place) => {
                    let (_, tensor) = left.remove(place);
                    if tensor.dims() == shape {
                        return Ok(tensor);
                    }
                    self.wrong_shape.push(format!("{name} is {:?} and not {shape:?}", tensor.dims()));
                    zeros()
                }
            },
        }
    }

    /// Fails with all that was missing, left over or of another shape.
    pub fn finish(self) -> Result<(), LoadError> {
        let counters = |name: &str| name.ends_with("num_batches_tracked");
        let unexpected: Vec<String> = match self.source {
            Source::Random { .. } => vec![],
            Source::File { left } => left.into_iter().map(|(name, _)| name).filter(|name| !counters(name)).collect(),
        };
        if self.missing.is_empty() && unexpected.is_empty() && self.wrong_shape.is_empty() {
            return Ok(());
        }
        Err(LoadError::Weights { missing: self.missing, unexpected, wrong_shape: self.wrong_shape })
    }
}

/// Numbers that follow from a seed and the weight's name alone.
pub(crate) fn drawn(seed: u64, name: &str, length: usize, initial: Initial) -> Vec<f32> {
    match initial {
        Initial::Constant(number) => vec![number; length],
        Initial::Uniform { fan_in } => {
            let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
            // The name is part of the seed, so that a weight does not depend on the order of its neighbours.
            let start = name.bytes().fold(mixed(seed), |state, byte| mixed(state ^ u64::from(byte)));
            let uniform = |index: usize| {
                if index.is_multiple_of(1 << 20) {
                    crate::pause::point();
                }
                (mixed(start.wrapping_add((index as u64).wrapping_mul(STEP))) >> 11) as f64 / (1u64 << 53) as f64
            };
            (0..length).map(|index| ((2.0 * uniform(index) - 1.0) * bound) as f32).collect()
        }
    }
}

/// The odd number next to 2⁶⁴/φ.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output function (Steele et al. 2014): counter in, well mixed bits out.
fn mixed(counter: u64) -> u64 {
    let z = counter.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_does_not_fit_is_told_at_once() {
        let mut checkpoint = Checkpoint::new();
        for (name, shape) in
            [("a.weight", vec![2]), ("b.weight", vec![3]), ("c.bias", vec![1]), ("n.num_batches_tracked", vec![])]
        {
            checkpoint.insert(name, &shape, vec![0.0; shape.iter().product()]).unwrap();
        }
        let mut weights = Weights::from_checkpoint(checkpoint);
        for name in ["a.weight", "b.weight", "d.weight"] {
            weights.take(name, &[2], Initial::Constant(0.0)).unwrap();
        }
        assert_eq!(
            weights.finish().unwrap_err().to_string(),
            "the weights do not fit the architecture; missing: d.weight; unexpected: c.bias; of another shape: b.weight is [3] and not [2]"
        );
    }

    #[test]
    fn random_weights_follow_their_seed_and_stay_within_bounds() {
        let draw = |seed, name: &str| drawn(seed, name, 4000, Initial::Uniform { fan_in: 16 });
        assert_eq!(draw(1, "conv.weight"), draw(1, "conv.weight"));
        assert_ne!(draw(1, "conv.weight")[..4], draw(2, "conv.weight")[..4]);
        assert_ne!(draw(1, "conv.weight")[..4], draw(1, "conv.bias")[..4]);
        let numbers = draw(3, "conv.weight");
        let mean = numbers.iter().sum::<f32>() / 4000.0;
        let deviation = (numbers.iter().map(|n| n * n).sum::<f32>() / 4000.0).sqrt();
        assert!(numbers.iter().all(|n| n.abs() <= 0.25) && mean.abs() < 0.01, "{mean}");
        assert!((deviation - 0.25 / 3f32.sqrt()).abs() < 0.005, "{deviation}");
    }

    #[test]
    fn a_shape_beyond_memory_is_refused_even_without_numbers() {
        let error = Checkpoint::new().insert("fc.bias", &[0, 1 << 40, 1 << 40], vec![]).unwrap_err();
        assert!(error.to_string().ends_with("does not fit into memory"), "{error}");
        Checkpoint::new().insert("fc.bias", &[0, 3], vec![]).unwrap();
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let error = Checkpoint::new().insert("fc.bias", &[2], vec![0.0, f32::NAN]).unwrap_err();
        assert_eq!(error.to_string(), "weights `fc.bias`: number 1 is NaN; every weight must be finite");
    }
}
