//! Batch norms that follow a convolution or a dense layer become part of its weights.
//!
//! With `y = factor · x + term` a channel: `W' = factor · W`, `b' = factor · b + term`. The norm's name stays as an
//! alias of the merged layer. A norm stays where its convolution's own output is read elsewhere too.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::error::{ModelError, Result};
use crate::graph::{Graph, NodeIdx, Rewrite};
use crate::operators::{BatchNorm, Dense, Operator};

/// The same network with its batch norms merged where that is possible.
pub fn merge_batch_norms(graph: &Graph) -> Result<Graph> {
    let consumers = graph.consumers();
    let is_output = |idx: NodeIdx| graph.outputs().iter().any(|(_, outlet)| outlet.node == idx);
    let norm_behind = |idx: NodeIdx| {
        let [reader] = consumers[idx.0][..] else { return None };
        let operator = &graph.node(idx).operator;
        let is_linear = operator.as_convolution().is_some() || operator.as_dense().is_some();
        if is_output(idx) || !is_linear { None } else { graph.node(reader).operator.as_batch_norm() }
    };
    graph.rewritten(|idx, node| {
        if let Some(norm) = norm_behind(idx) {
            return Ok(Rewrite::With(with_batch_norm(&*node.operator, norm)?));
        }
        let is_merged = node.operator.as_batch_norm().is_some() && norm_behind(node.inputs[0].node).is_some();
        Ok(if is_merged { Rewrite::Bypass } else { Rewrite::Keep })
    })
}

/// A convolution or dense layer with a batch norm behind it, as one.
pub fn with_batch_norm(operator: &dyn Operator, norm: &BatchNorm) -> Result<Arc<dyn Operator>> {
    let (factor, term) = norm.factor_and_term()?;
    if let Some(convolution) = operator.as_convolution() {
        let params = convolution.params();
        let (weight, bias) = scaled(&params.weight, params.bias.as_ref(), &factor, &term)?;
        return Ok(Arc::new(convolution.with_weights(weight, Some(bias))?));
    }
    let Some(dense) = operator.as_dense() else {
        return Err(ModelError::operator(
            operator.kind(),
            "batch norms become part of convolutions and dense layers alone",
        ));
    };
    let (weight, bias) = scaled(dense.weight(), dense.bias(), &factor, &term)?;
    Ok(Arc::new(Dense::new(weight, Some(bias))?))
}

/// Weights (outputs first) and bias with each output scaled and moved; in f64, rounded once.
fn scaled(weight: &Tensor, bias: Option<&Tensor>, factor: &[f64], term: &[f64]) -> Result<(Tensor, Tensor)> {
    let (dims, dtype) = (weight.dims().to_vec(), weight.dtype());
    let per_output = weight.elem_count() / factor.len();
    let mut numbers = weight.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    for (output, factor) in numbers.chunks_exact_mut(per_output).zip(factor) {
        output.iter_mut().for_each(|number| *number *= factor);
    }
    let bias = match bias {
        Some(bias) => bias.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?,
        None => vec![0.0; factor.len()],
    };
    let bias: Vec<f64> = bias.iter().zip(factor).zip(term).map(|((bias, factor), term)| bias * factor + term).collect();
    let n_outputs = bias.len();
    let weight = Tensor::from_vec(numbers, dims, &Device::Cpu)?.to_dtype(dtype)?;
    Ok((weight, Tensor::from_vec(bias, n_outputs, &Device::Cpu)?.to_dtype(dtype)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Uninterrupted;
    use crate::graph::{Dim, GraphBuilder};
    use crate::operators::gradient_check::{random_tensor, random_value};
    use crate::operators::{Activation, Arithmetic, Convolution, ConvolutionParams, Operand, PointwiseFunction};
    use crate::trace::Trace;

    fn norm(channels: usize, seed: u64) -> BatchNorm {
        let random = |offset| random_tensor(&[channels], seed + offset);
        BatchNorm::new(random(0), random(1), random(2), random(3).sqr().unwrap(), 1e-3).unwrap()
    }

    /// conv → norm → relu → (+ conv, whose own output a norm and the sum read)
    fn network() -> Graph {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(3), Dim::Any(6), Dim::Any(5)]).unwrap();
        let conv = |seed| Convolution::new(ConvolutionParams::plain(random_tensor(&[3, 3, 1, 1], seed), None)).unwrap();
        let first = builder.add("conv1", conv(1), &[input]).unwrap();
        let first = builder.add("bn1", norm(3, 10), &[first]).unwrap();
        let relu = builder.add("relu", Activation::new(PointwiseFunction::Relu), &[first]).unwrap();
        let second = builder.add("conv2", conv(2), &[relu]).unwrap();
        let normed = builder.add("bn2", norm(3, 20), &[second]).unwrap();
        let sum = builder.add("add", Arithmetic::add(Operand::Graph), &[second, normed]).unwrap();
        builder.finish(&[("output", sum)]).unwrap()
    }

    #[test]
    fn outputs_stay_and_both_names_are_known() {
        let graph = network();
        let merged = merge_batch_norms(&graph).unwrap();
        let names: Vec<&str> = merged.nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(
            names,
            ["input", "conv1", "relu", "conv2", "bn2", "add"],
            "bn2's convolution is read by the sum too"
        );
        assert_eq!(merged.layer("bn1").unwrap(), merged.layer("conv1").unwrap());
        let holds_norm = |name: &str| merged.merged_into(merged.layer(name).unwrap().node).is_some();
        assert_eq!([holds_norm("conv1"), holds_norm("conv2"), holds_norm("bn2")], [true, false, false]);

        let input = random_value(&[2, 3, 6, 5], 5);
        let run = |graph: &Graph| {
            let trace = Trace::record(graph, std::slice::from_ref(&input), &Uninterrupted).unwrap();
            trace.value(graph.output()).unwrap().to_f64_vec().unwrap()
        };
        for (merged, plain) in run(&merged).iter().zip(run(&graph)) {
            assert!((merged - plain).abs() < 1e-10, "{merged} is not {plain}");
        }
    }
}
