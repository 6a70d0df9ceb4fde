//! Gradients of a target's score, plain and with the rectifiers' rules changed.

use crate::attribution::Question;
use crate::backward_walk::Arrived;
use crate::error::Result;
use crate::rules::{AtRectifiers, Deconvnet, GuidedBackprop, PlainGradient};

/// The signed gradient of each target's score (Simonyan et al. 2014, section 3).
///
/// # Shapes
/// - returns `[target, …]`, the shape of where the map is read behind the targets, or that of windows of it
pub fn saliency(question: &Question<'_>) -> Result<Arrived> {
    question.walk(&PlainGradient)
}

/// Guided backpropagation (Springenberg et al. 2015); shapes as [`saliency`].
pub fn guided_backprop(question: &Question<'_>) -> Result<Arrived> {
    question.walk(&AtRectifiers(GuidedBackprop))
}

/// Deconvnet (Zeiler and Fergus 2014); shapes as [`saliency`].
pub fn deconvnet(question: &Question<'_>) -> Result<Arrived> {
    question.walk(&AtRectifiers(Deconvnet))
}
