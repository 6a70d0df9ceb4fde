//! The loops in which the time goes, over plain slices in channels-last order; operators call them.
//!
//! Everything unsafe is in `matrix`, behind checked bounds.

pub(crate) mod broadcasting;
pub(crate) mod convolution;
pub(crate) mod depthwise;
pub(crate) mod matrix;
