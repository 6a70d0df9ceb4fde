//! What can be asked of a graph, each a function of a graph and its trace: no server, no files, no clock.
//!
//! Read `backward_walk`, then a rule, then an attribution such as `grad_cam`. A new attribution method is a rule or a
//! composite in a file of its own, and nothing else changes.

mod attribution;
pub mod backward_walk;
pub mod baseline;
mod cone;
mod deep_lift;
mod deep_taylor;
mod error;
mod grad_cam;
mod input_x_gradient;
mod integrated_gradients;
mod lrp;
mod masking;
pub mod metrics;
mod occlusion;
mod pattern;
pub mod rules;
mod saliency;
pub mod sanity;
pub mod similarity;
mod smooth_grad;
mod target;
mod upsample;
mod variations;
pub mod visualization;

pub use attribution::Question;
pub use backward_walk::Arrived;
pub use cone::{cone, cones};
pub use deep_lift::{MaxPoolRule, deep_lift};
pub use deep_taylor::{InputDomain, deep_taylor};
pub use error::{IntrospectionError, Result};
pub use grad_cam::{grad_cam, guided_grad_cam, last_spatial_convolution, layer_cam};
pub use input_x_gradient::input_x_gradient;
pub use integrated_gradients::{Complete, Quadrature, integrated_gradients};
pub use lrp::{LayerRule, Preset, Relevance, RelevanceStart, RuleTable, check_bounds, lrp};
pub use masking::{RandomMasks, rise, score_cam};
pub use occlusion::occlusion;
pub use pattern::fits_pattern;
pub use saliency::{GradientMethod, deconvnet, guided_backprop, saliency};
pub use similarity::Similarity;
pub use smooth_grad::{NoiseStatistic, smooth_grad};
pub use target::{ClassChoice, OutputAxes, ResolvedTarget, ScoreOf, Scores, Target, log_probabilities, resolve};
pub use upsample::{Interpolation, upsample};
pub use visualization::{Objective, objective_gradient};
