//! Feature visualisation: inputs that make an objective large (Olah et al. 2017, "Feature Visualization").
//!
//! Numbers that are free ([`Parameterization`]) become a picture, the picture is moved and turned ([`Transform`]), the
//! network sees it, and the gradient of the [`Objective`] goes the same way back; [`maximize`] repeats that. Everything
//! but the network computes in f64, where every step is checked against finite differences.

mod adam;
mod canvas;
mod colors;
mod fourier;
mod laplacian_pyramid;
mod maximize;
mod objective;
mod parameterization;
mod prior;
mod random;
mod regularizers;
mod resize;
mod sampling;
mod spectrum;
#[cfg(test)]
mod testing;
mod transforms;

pub use canvas::{Canvas, InputRange};
pub use fourier::Decay;
pub use maximize::{Ascent, Maximization, Maximized, Snapshot, Stopped, Watch, maximize};
pub use objective::{Objective, evaluate, objective_gradient};
pub use parameterization::{Parameterization, Parameters};
pub use prior::Prior;
pub use regularizers::Regularizers;
pub use transforms::Transform;

/// Numbers that one thread changes at a time.
const GRAIN: usize = 1 << 13;
