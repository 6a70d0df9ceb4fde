//! A denoiser for pictures of any size, the learned prior of feature visualisation (`introspect-train prior`).
//!
//! A fully convolutional residual network as IRCNN (Zhang et al. 2017), smaller: dilations widen what a pixel sees, and
//! the network computes what is to be added to the picture. Where noise has deviation σ, what the best denoiser adds is
//! `σ² ∇ log p` of the noisy pictures' density (Vincent 2011; Nguyen et al. 2017 use it to walk towards natural ones).

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, Arithmetic, Operand, PointwiseFunction};

const WIDTH: usize = 40;

/// One a layer; a pixel sees 21 × 21.
const DILATIONS: [usize; 6] = [1, 2, 3, 2, 1, 1];

/// Layers `conv1`, `relu1` to `conv6`, then `add`: pixels of 0 to 1 in, cleaner ones out.
pub(super) fn build(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let input = net.input(&[Dim::Known(3), Dim::Any(96), Dim::Any(96)])?;
    let (mut x, mut n_in) = (input, 3);
    for (nth, dilation) in (1..).zip(DILATIONS) {
        let is_last = nth == DILATIONS.len();
        let n_out = if is_last { 3 } else { WIDTH };
        let name = format!("conv{nth}");
        let conv = Conv { bias: true, dilation, ..Conv::square(n_in, n_out, 3, 1, dilation) };
        x = net.conv(&name, &name, conv, x)?;
        if !is_last {
            x = net.add(&format!("relu{nth}"), Activation::new(PointwiseFunction::Relu), &[x])?;
        }
        n_in = n_out;
    }
    x = net.add("add", Arithmetic::add(Operand::Graph), &[input, x])?;
    Ok(net.finish(x)?)
}
