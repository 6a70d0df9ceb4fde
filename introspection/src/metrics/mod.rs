//! Numbers that say how far a map can be trusted (definitions as gathered by Hedström et al. 2023): faithfulness
//! (`pixel_flipping`), robustness (`sensitivity`), dependence on the network and the class (`mprt`, `random_class`; the
//! curves are made in `sanity`), completeness, and how much of a map there is (`spread`).

mod completeness;
mod noise;
mod pixel_flipping;
mod random_class;
mod sensitivity;
mod spread;

pub use completeness::{Completeness, completeness};
pub use noise::{Noise, noisy};
pub use pixel_flipping::{Flipping, pixel_flipping};
pub use random_class::other_classes;
pub use sensitivity::{Sensitivity, sensitivity};
pub use spread::{complexity, discrete_entropy, sparseness};
