//! VGG-16 (Simonyan and Zisserman 2015, configuration D), torchvision's `vgg16`.

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, AdaptiveAveragePool, Flatten, Identity, MaxPool, PointwiseFunction, PoolWindow};

/// Channels of the convolutions, a pool behind each group.
const GROUPS: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

pub(super) fn build(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let relu = || Activation::new(PointwiseFunction::Relu);
    let mut x = net.input(&[Dim::Known(3), Dim::Known(224), Dim::Known(224)])?;
    let (mut n_in, mut nth) = (3, 0);
    for group in GROUPS {
        for &n_out in group {
            let name = format!("features.{nth}");
            x = net.conv(&name, &name, Conv { bias: true, ..Conv::square(n_in, n_out, 3, 1, 1) }, x)?;
            x = net.add(&format!("features.{}", nth + 1), relu(), &[x])?;
            (n_in, nth) = (n_out, nth + 2);
        }
        x = net.add(&format!("features.{nth}"), MaxPool::new(PoolWindow::plain(&[2, 2], &[2, 2]))?, &[x])?;
        nth += 1;
    }
    net.alias(x, "features");
    x = net.add("avgpool", AdaptiveAveragePool::new(&[7, 7])?, &[x])?;
    x = net.add("flatten", Flatten { axis: 1 }, &[x])?;
    x = net.dense("classifier.0", "classifier.0", 512 * 7 * 7, 4096, x)?;
    x = net.add("classifier.1", relu(), &[x])?;
    x = net.add("classifier.2", Identity { kind: "Dropout" }, &[x])?;
    x = net.dense("classifier.3", "classifier.3", 4096, 4096, x)?;
    x = net.add("classifier.4", relu(), &[x])?;
    x = net.add("classifier.5", Identity { kind: "Dropout" }, &[x])?;
    x = net.dense("classifier.6", "classifier.6", 4096, 1000, x)?;
    net.alias(x, "classifier");
    Ok(net.finish(x)?)
}
