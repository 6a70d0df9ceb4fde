//! Residual networks (He et al. 2016), torchvision's `resnet18` and `resnet50` (whose stride sits at the 3×3 convolution).

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph, Outlet};
use crate::loaders::{LoadError, Weights};
use crate::operators::{
    Activation, AdaptiveAveragePool, Arithmetic, Flatten, MaxPool, Operand, PointwiseFunction, PoolWindow,
};

const EPSILON: f64 = 1e-5;

/// Two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    Basic,
    Bottleneck,
}

pub(super) fn build_18(weights: &mut Weights) -> Result<Graph, LoadError> {
    build(weights, Block::Basic, [2, 2, 2, 2])
}

pub(super) fn build_50(weights: &mut Weights) -> Result<Graph, LoadError> {
    build(weights, Block::Bottleneck, [3, 4, 6, 3])
}

fn build(weights: &mut Weights, kind: Block, n_blocks: [usize; 4]) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let input = net.input(&[Dim::Known(3), Dim::Known(224), Dim::Known(224)])?;
    let mut x = conv_norm(&mut net, "conv1", "bn1", Conv::square(3, 64, 7, 2, 3), input)?;
    x = net.add("relu", relu(), &[x])?;
    let window = PoolWindow { padding: vec![(1, 1); 2], ..PoolWindow::plain(&[3, 3], &[2, 2]) };
    x = net.add("maxpool", MaxPool::new(window)?, &[x])?;
    let mut n_in = 64;
    for (stage, n_blocks) in n_blocks.into_iter().enumerate() {
        let width = 64 << stage;
        for nth in 0..n_blocks {
            let stride = if stage > 0 && nth == 0 { 2 } else { 1 };
            let name = format!("layer{}.{nth}", stage + 1);
            (x, n_in) = block(&mut net, &name, kind, n_in, width, stride, x)?;
        }
        net.alias(x, &format!("layer{}", stage + 1));
    }
    x = net.add("avgpool", AdaptiveAveragePool::new(&[1, 1])?, &[x])?;
    x = net.add("flatten", Flatten { axis: 1 }, &[x])?;
    x = net.dense("fc", "fc", n_in, 1000, x)?;
    Ok(net.finish(x)?)
}

fn relu() -> Activation {
    Activation::new(PointwiseFunction::Relu)
}

fn conv_norm(
    net: &mut Builder<'_>,
    conv_name: &str,
    norm_name: &str,
    conv: Conv,
    input: Outlet,
) -> Result<Outlet, LoadError> {
    let n_out = conv.n_out;
    let x = net.conv(conv_name, conv_name, conv, input)?;
    net.batch_norm(norm_name, norm_name, n_out, EPSILON, x)
}

/// A block; answers its output and how many channels that has.
fn block(
    net: &mut Builder<'_>,
    name: &str,
    kind: Block,
    n_in: usize,
    width: usize,
    stride: usize,
    input: Outlet,
) -> Result<(Outlet, usize), LoadError> {
    let convs = match kind {
        Block::Basic => vec![Conv::square(n_in, width, 3, stride, 1), Conv::square(width, width, 3, 1, 1)],
        Block::Bottleneck => {
            vec![
                Conv::square(n_in, width, 1, 1, 0),
                Conv::square(width, width, 3, stride, 1),
                Conv::square(width, width * 4, 1, 1, 0),
            ]
        }
    };
    let n_convs = convs.len();
    let n_out = convs[n_convs - 1].n_out;
    // The one rectifier module is used again and again; uses behind the first are counted.
    let relu_name = |use_of: usize| if use_of == 0 { format!("{name}.relu") } else { format!("{name}.relu_{use_of}") };
    let mut x = input;
    for (nth, conv) in convs.into_iter().enumerate() {
        x = conv_norm(net, &format!("{name}.conv{}", nth + 1), &format!("{name}.bn{}", nth + 1), conv, x)?;
        if nth + 1 < n_convs {
            x = net.add(&relu_name(nth), relu(), &[x])?;
        }
    }
    let mut skipped = input;
    if stride != 1 || n_in != n_out {
        let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        skipped = conv_norm(net, &conv, &norm, Conv::square(n_in, n_out, 1, stride, 0), input)?;
        net.alias(skipped, &format!("{name}.downsample"));
    }
    x = net.add(&format!("{name}.add"), Arithmetic::add(Operand::Graph), &[x, skipped])?;
    x = net.add(&relu_name(n_convs - 1), relu(), &[x])?;
    net.alias(x, name);
    Ok((x, n_out))
}
