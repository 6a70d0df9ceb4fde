//! What can be asked of a graph, each a function of a graph and its trace: no server, no files, no clock.
//!
//! Read `backward_walk`, then a rule, then an attribution such as `grad_cam`. A new attribution method is a rule or a
//! composite in a file of its own, and nothing else changes.

mod attribution;
pub mod backward_walk;
mod cone;
mod error;
mod grad_cam;
mod input_x_gradient;
mod objective;
pub mod rules;
mod saliency;
mod target;
mod upsample;

pub use attribution::Question;
pub use backward_walk::Arrived;
pub use cone::{cone, cones};
pub use error::{IntrospectionError, Result};
pub use grad_cam::{grad_cam, guided_grad_cam, last_spatial_convolution};
pub use input_x_gradient::input_x_gradient;
pub use objective::{Objective, objective_gradient};
pub use saliency::{deconvnet, guided_backprop, saliency};
pub use target::{ClassChoice, OutputAxes, ResolvedTarget, ScoreOf, Scores, Target, log_probabilities, resolve};
pub use upsample::{Interpolation, upsample};
