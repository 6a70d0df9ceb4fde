//! Gradients of a target's score, plain and with the rectifiers' rules changed.

use models::Outlet;

use crate::attribution::Question;
use crate::backward_walk::Arrived;
use crate::error::Result;
use crate::input_x_gradient::times_value;
use crate::rules::{AtRectifiers, Deconvnet, GuidedBackprop, PlainGradient};

/// The attributions that are one walk of gradients, however many layers they are read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientMethod {
    /// [`saliency`]
    Saliency,
    /// [`input_x_gradient`](crate::input_x_gradient)
    InputXGradient,
    /// [`guided_backprop`]
    GuidedBackprop,
    /// [`deconvnet`]
    Deconvnet,
}

impl GradientMethod {
    /// The map of each target at every one of these layers, in their order, wherever the question reads.
    pub fn at(self, question: &Question<'_>, layers: &[Outlet]) -> Result<Vec<Arrived>> {
        let arrived = match self {
            GradientMethod::Saliency | GradientMethod::InputXGradient => question.walk_to(&PlainGradient, layers),
            GradientMethod::GuidedBackprop => question.walk_to(&AtRectifiers(GuidedBackprop), layers),
            GradientMethod::Deconvnet => question.walk_to(&AtRectifiers(Deconvnet), layers),
        };
        if self != GradientMethod::InputXGradient {
            return arrived;
        }
        let times = |(gradient, &at): (Arrived, &Outlet)| times_value(&Question { at, ..*question }, gradient);
        arrived?.into_iter().zip(layers).map(times).collect()
    }

    /// The map where the question reads.
    pub(crate) fn read(self, question: &Question<'_>) -> Result<Arrived> {
        Ok(self.at(question, &[question.at])?.swap_remove(0))
    }
}

/// The signed gradient of each target's score (Simonyan et al. 2014, section 3).
///
/// # Shapes
/// - returns `[target, …]`, the shape of where the map is read behind the targets, or that of windows of it
pub fn saliency(question: &Question<'_>) -> Result<Arrived> {
    GradientMethod::Saliency.read(question)
}

/// Guided backpropagation (Springenberg et al. 2015); shapes as [`saliency`].
pub fn guided_backprop(question: &Question<'_>) -> Result<Arrived> {
    GradientMethod::GuidedBackprop.read(question)
}

/// Deconvnet (Zeiler and Fergus 2014); shapes as [`saliency`].
pub fn deconvnet(question: &Question<'_>) -> Result<Arrived> {
    GradientMethod::Deconvnet.read(question)
}
