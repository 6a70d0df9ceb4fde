//! Input × gradient: `x ⊙ ∂f/∂x`, which sums to the score where a network is piecewise linear and has no biases.

use models::Value;

use crate::attribution::Question;
use crate::error::Result;
use crate::saliency::saliency;

/// The value where the map is read, times the gradient there (Shrikumar et al. 2016).
///
/// # Shapes
/// - returns `[target, …]`, the shape of where the map is read behind the targets
pub fn input_x_gradient(question: &Question<'_>) -> Result<Value> {
    Ok(saliency(question)?.multiply(&question.values_at(question.at)?)?)
}
