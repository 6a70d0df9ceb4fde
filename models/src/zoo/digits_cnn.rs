//! A small network for handwritten digits of 8 × 8 pixels, which the project trains itself (`introspect-train digits`).

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, Flatten, MaxPool, PointwiseFunction, PoolWindow};

/// Layers `conv1`, `relu1` to `conv3`, `relu3` with a pool behind the second, then `fc1`, `relu4`, `fc2`; logits at the end.
pub(super) fn build(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let relu = || Activation::new(PointwiseFunction::Relu);
    let conv = |n_in, n_out| Conv { bias: true, ..Conv::square(n_in, n_out, 3, 1, 1) };
    let mut x = net.input(&[Dim::Known(1), Dim::Known(8), Dim::Known(8)])?;
    x = net.conv("conv1", "conv1", conv(1, 16), x)?;
    x = net.add("relu1", relu(), &[x])?;
    x = net.conv("conv2", "conv2", conv(16, 32), x)?;
    x = net.add("relu2", relu(), &[x])?;
    x = net.add("pool", MaxPool::new(PoolWindow::plain(&[2, 2], &[2, 2]))?, &[x])?;
    x = net.conv("conv3", "conv3", conv(32, 32), x)?;
    x = net.add("relu3", relu(), &[x])?;
    x = net.add("flatten", Flatten { axis: 1 }, &[x])?;
    x = net.dense("fc1", "fc1", 32 * 4 * 4, 64, x)?;
    x = net.add("relu4", relu(), &[x])?;
    x = net.dense("fc2", "fc2", 64, 10, x)?;
    Ok(net.finish(x)?)
}
