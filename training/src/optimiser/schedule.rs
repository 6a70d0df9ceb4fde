//! The learning rate over a run: a linear warm-up, then a decay along a half cosine to zero.

use serde::{Deserialize, Serialize};

/// Loshchilov and Hutter 2017, one period, with the warm-up of Goyal et al. 2017 before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warm_up: usize,
    /// Steps in all, at the end of which the rate is zero.
    pub n_steps: usize,
}

impl Schedule {
    /// The rate of a step, counted from 0.
    pub fn learning_rate(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let decaying = self.n_steps.saturating_sub(self.warm_up).max(1);
        let done = ((step - self.warm_up) as f64 / decaying as f64).min(1.0);
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_its_peak_and_falls_to_nothing() {
        let schedule = Schedule { peak: 2.0, warm_up: 4, n_steps: 14 };
        let rates: Vec<f64> = [0, 3, 4, 9, 14, 99].into_iter().map(|step| schedule.learning_rate(step)).collect();
        let expected = [0.5, 2.0, 2.0, 1.0, 0.0, 0.0];
        assert!(rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-12), "{rates:?}");
        let none = Schedule { peak: 1.0, warm_up: 0, n_steps: 0 };
        assert!(none.learning_rate(0).is_finite());
    }
}
