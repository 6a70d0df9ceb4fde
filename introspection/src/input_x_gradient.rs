//! Input × gradient: `x ⊙ ∂f/∂x`, which sums to the score where a network is piecewise linear and has no biases.

use crate::attribution::Question;
use crate::backward_walk::Arrived;
use crate::error::Result;
use crate::saliency::GradientMethod;

/// The value where the map is read, times the gradient there (Shrikumar et al. 2016).
///
/// # Shapes
/// - returns `[target, …]`, the shape of where the map is read behind the targets, or that of windows of it
pub fn input_x_gradient(question: &Question<'_>) -> Result<Arrived> {
    GradientMethod::InputXGradient.read(question)
}

/// A gradient that arrived where the map is read, times the value there; shapes as [`input_x_gradient`].
pub(crate) fn times_value(question: &Question<'_>, gradient: Arrived) -> Result<Arrived> {
    let Arrived { value, windows } = gradient;
    let read = match &windows {
        Some(windows) => windows.cut(&question.trace.value(question.at)?, &question.rows(), 0.0)?,
        None => question.values_at(question.at)?,
    };
    Ok(Arrived { value: value.multiply(&read)?, windows })
}
