//! EfficientNet-Lite0: MobileNetV2's inverted residuals (Sandler et al. 2018) in EfficientNet-B0's proportions (Tan and
//! Le 2019), without squeeze-and-excitation and with ReLU6; padded as TensorFlow does, more behind than before.

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph, Outlet};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, AdaptiveAveragePool, Arithmetic, Flatten, Identity, Operand};

const EPSILON: f64 = 1e-3;
const IMAGE_SIDE: usize = 224;

/// Blocks of one kind in a row; the first has the stride and changes the channels.
struct Stage {
    repeats: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    n_out: usize,
}

const fn stage(repeats: usize, kernel: usize, stride: usize, expansion: usize, n_out: usize) -> Stage {
    Stage { repeats, kernel, stride, expansion, n_out }
}

const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

pub(super) fn build(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let mut side = IMAGE_SIDE;
    let input = net.input(&[Dim::Known(3), Dim::Known(side), Dim::Known(side)])?;
    let stem = same_conv(&mut net, "conv_stem", "_conv_stem", Conv::square(3, 32, 3, 2, 0), &mut side, input)?;
    let stem = net.batch_norm("bn0", "_bn0", 32, EPSILON, stem)?;
    let mut x = net.add("swish", Activation::relu6(), &[stem])?;
    let (mut n_in, mut nth) = (32, 0);
    for stage in &STAGES {
        for repeat in 0..stage.repeats {
            let stride = if repeat == 0 { stage.stride } else { 1 };
            x = block(&mut net, nth, stage, n_in, stride, &mut side, x)?;
            (n_in, nth) = (stage.n_out, nth + 1);
        }
    }
    net.alias(x, "blocks");
    let head = net.conv("conv_head", "_conv_head", Conv::square(n_in, 1280, 1, 1, 0), x)?;
    let head = net.batch_norm("bn1", "_bn1", 1280, EPSILON, head)?;
    let head = net.add("swish_1", Activation::relu6(), &[head])?;
    let pooled = net.add("avg_pooling", AdaptiveAveragePool::new(&[1, 1])?, &[head])?;
    let flat = net.add("flatten", Flatten { axis: 1 }, &[pooled])?;
    let dropped = net.add("dropout", Identity { kind: "Dropout" }, &[flat])?;
    let output = net.dense("fc", "_fc", 1280, 1000, dropped)?;
    Ok(net.finish(output)?)
}

fn block(
    net: &mut Builder<'_>,
    nth: usize,
    stage: &Stage,
    n_in: usize,
    stride: usize,
    side: &mut usize,
    input: Outlet,
) -> Result<Outlet, LoadError> {
    let layer = |name: &str| format!("blocks.{nth}.{name}");
    let parameters = |name: &str| format!("_blocks.{nth}._{name}");
    let n_wide = n_in * stage.expansion;
    let mut x = input;
    let mut n_rectifiers = 0;
    let mut rectified = |net: &mut Builder<'_>, x: Outlet| {
        let name = if n_rectifiers == 0 { layer("swish") } else { layer(&format!("swish_{n_rectifiers}")) };
        n_rectifiers += 1;
        net.add(&name, Activation::relu6(), &[x])
    };
    if stage.expansion != 1 {
        x = net.conv(&layer("expand_conv"), &parameters("expand_conv"), Conv::square(n_in, n_wide, 1, 1, 0), x)?;
        x = net.batch_norm(&layer("bn0"), &parameters("bn0"), n_wide, EPSILON, x)?;
        x = rectified(net, x)?;
    }
    let depthwise = Conv { groups: n_wide, ..Conv::square(n_wide, n_wide, stage.kernel, stride, 0) };
    x = same_conv(net, &layer("depthwise_conv"), &parameters("depthwise_conv"), depthwise, side, x)?;
    x = net.batch_norm(&layer("bn1"), &parameters("bn1"), n_wide, EPSILON, x)?;
    x = rectified(net, x)?;
    x = net.conv(&layer("project_conv"), &parameters("project_conv"), Conv::square(n_wide, stage.n_out, 1, 1, 0), x)?;
    x = net.batch_norm(&layer("bn2"), &parameters("bn2"), stage.n_out, EPSILON, x)?;
    if stride == 1 && n_in == stage.n_out {
        x = net.add(&layer("add"), Arithmetic::add(Operand::Graph), &[x, input])?;
    }
    net.alias(x, &format!("blocks.{nth}"));
    Ok(x)
}

/// A convolution padded so that `side` pixels give `side / stride`, rounded up.
fn same_conv(
    net: &mut Builder<'_>,
    layer: &str,
    parameters: &str,
    conv: Conv,
    side: &mut usize,
    input: Outlet,
) -> Result<Outlet, LoadError> {
    let after = side.div_ceil(conv.stride);
    let total = ((after - 1) * conv.stride + conv.kernel[0]).saturating_sub(*side);
    *side = after;
    net.conv(layer, parameters, Conv { padding: vec![(total / 2, total - total / 2); 2], ..conv }, input)
}
