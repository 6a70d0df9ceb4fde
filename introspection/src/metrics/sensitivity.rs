//! How far a map moves when its input hardly does (Yeh et al. 2019, definition 3).

use models::{Interrupt, Value};

use crate::error::IntrospectionError;
use crate::metrics::noise::{Noise, noisy};

/// How far a map moved at each draw, in parts of its own length.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// `‖m(x) − m(x′)‖ / ‖m(x)‖` for each draw.
    pub changes: Vec<f64>,
}

impl Sensitivity {
    /// The largest.
    pub fn max(&self) -> f64 {
        self.changes.iter().copied().fold(0.0, f64::max)
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        self.changes.iter().sum::<f64>() / self.changes.len() as f64
    }
}

/// A map's sensitivity to noise that is uniform between ±`radius`.
///
/// `explain` makes the map of another input. The denominator is the length of the map itself; the paper has none.
///
/// # Shapes
/// - `input`: one row; `map`: as `explain` gives it
pub fn sensitivity<E: From<IntrospectionError>>(
    input: &Value,
    map: &[f64],
    radius: f64,
    draws: usize,
    seed: u64,
    explain: &mut dyn FnMut(Value) -> Result<Vec<f64>, E>,
    interrupt: &dyn Interrupt,
) -> Result<Sensitivity, E> {
    let length = map.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length == 0.0 {
        let message = "the map is zero everywhere, so that no change of it can be measured";
        return Err(IntrospectionError::Unfit(message.to_owned()).into());
    }
    let mut changes = Vec::with_capacity(draws);
    for nth in 0..draws {
        interrupt.progress(nth, draws);
        let moved = explain(noisy(input, Noise::Uniform { radius }, seed, nth)?)?;
        let change: f64 = map.iter().zip(&moved).map(|(before, after)| (before - after).powi(2)).sum();
        changes.push(change.sqrt() / length);
    }
    Ok(Sensitivity { changes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::{Layout, Uninterrupted};

    fn of(explain: impl Fn(Vec<f64>) -> Vec<f64>, draws: usize) -> Result<Sensitivity, IntrospectionError> {
        let input = Value::from_vec(vec![1.0, -2.0, 2.0], &[1, 3], Layout::Logical).unwrap();
        let map = explain(input.to_f64_vec().unwrap());
        let mut explain = |value: Value| Ok(explain(value.to_f64_vec()?));
        sensitivity(&input, &map, 0.2, draws, 5, &mut explain, &Uninterrupted)
    }

    #[test]
    fn a_map_that_does_not_depend_on_its_input_moves_nowhere() {
        let flat = of(|_| vec![1.0, 2.0], 9).unwrap();
        assert_eq!((flat.max(), flat.mean(), flat.changes.len()), (0.0, 0.0, 9));
    }

    #[test]
    fn a_map_that_is_its_input_moves_as_far_as_that() {
        let same = of(|input| input, 400).unwrap();
        // Three numbers between ±0.2 are √0.12 long at most, and the input is 3 long.
        let most = 0.12f64.sqrt() / 3.0;
        assert!(same.max() <= most && same.max() > 0.8 * most, "{}", same.max());
        assert!(same.mean() < same.max());
        let first = of(|input| input, 3).unwrap();
        assert_eq!(first.changes, same.changes[..3]);
    }

    #[test]
    fn a_map_of_zeros_is_refused() {
        assert!(of(|_| vec![0.0], 3).unwrap_err().to_string().contains("zero everywhere"));
    }
}
