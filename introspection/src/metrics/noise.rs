//! Inputs under noise that a seed repeats.

use models::{Layout, Value};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

use crate::error::{IntrospectionError, Result};

/// What is added to each number of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Anything between ± this, alike.
    Uniform { radius: f64 },
    /// Normal around 0.
    Normal { standard_deviation: f64 },
}

/// The `nth` copy of an input with noise added; each copy's is a stream of its own, so that how many there are changes
/// none of them.
pub fn noisy(input: &Value, noise: Noise, seed: u64, nth: usize) -> Result<Value> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(nth as u64);
    let refused = |why: &dyn std::fmt::Display| IntrospectionError::Unfit(format!("{noise:?}: {why}"));
    let mut numbers = input.to_f64_vec()?;
    match noise {
        Noise::Uniform { radius } => {
            let uniform = Uniform::new_inclusive(-radius, radius).map_err(|error| refused(&error))?;
            numbers.iter_mut().for_each(|number| *number += uniform.sample(&mut random));
        }
        Noise::Normal { standard_deviation } => {
            let normal = Normal::new(0.0, standard_deviation).map_err(|error| refused(&error))?;
            numbers.iter_mut().for_each(|number| *number += normal.sample(&mut random));
        }
    }
    Ok(Value::from_vec(numbers, input.shape(), Layout::Logical)?.to_dtype(input.dtype())?)
}
