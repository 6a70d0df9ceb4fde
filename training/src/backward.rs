//! The walk back of a step of training: from what arrives at some outlets to the gradient of every parameter.
//!
//! It is not the walk of `introspection`: there a rule passes windows of many targets down to one layer, here whole
//! values of a whole batch pass every operator that has, or is above, something to learn, and each operator says its own
//! gradient ([`models::operators::Operator::input_and_parameter_gradients`]). What both share is below them, in `models`.

use models::operators::{Backward, ParameterGradients, RectifierBelow};
use models::{Graph, NodeIdx, Outlet, Trace, Value};

/// For each node that learns, the gradients to its parameters.
pub type Gradients = Vec<(NodeIdx, ParameterGradients)>;

/// The gradients to all parameters of what the starts are derivatives of.
///
/// # Shapes
/// - `starts`: outlets, each with `[batch, …]`, the derivative of the loss by its value
pub fn gradients(graph: &Graph, trace: &Trace, starts: Vec<(Outlet, Value)>) -> models::Result<Gradients> {
    let nodes = graph.nodes();
    let learning: Vec<NodeIdx> = (0..nodes.len()).map(NodeIdx).filter(|idx| learns(graph, *idx)).collect();
    let is_above = graph.descendants(&learning);
    let consumers = graph.consumers();
    let rows: Vec<usize> = (0..trace.batch()).collect();
    let mut arrived: Vec<Vec<Option<Value>>> = nodes.iter().map(|node| vec![None; node.operator.n_outputs()]).collect();
    for (outlet, gradient) in starts {
        accumulate(&mut arrived, outlet, gradient)?;
    }
    let mut found = Vec::new();
    for (idx, node) in nodes.iter().enumerate().rev() {
        let gradients = std::mem::take(&mut arrived[idx]);
        if !is_above[idx] || gradients.iter().all(Option::is_none) {
            continue;
        }
        let at_node = |error: models::ModelError| error.at_node(&node.name);
        let wanted: Vec<bool> = node.inputs.iter().map(|input| is_above[input.node.0]).collect();
        let values = trace.of_node(NodeIdx(idx));
        let backward = Backward { values: &values, gradients: &gradients, rows: &rows, wanted: &wanted };
        let is_learning = learns(graph, NodeIdx(idx));
        if wanted == [true]
            && let Some((rectifier, low, high)) = rectifier_below(graph, &consumers, idx)
        {
            let output = &trace.value(Outlet { node: rectifier, port: 0 })?;
            let below = RectifierBelow { output, low, high, only_positive: false };
            if let Some(passed) = node.operator.gradient_through(&backward, &below) {
                accumulate(&mut arrived, graph.node(rectifier).inputs[0], passed.map_err(at_node)?)?;
                if is_learning {
                    found.push((NodeIdx(idx), node.operator.parameter_gradients(&backward).map_err(at_node)?));
                }
                continue;
            }
        }
        let (passed, to_parameters) = match is_learning {
            true => node.operator.input_and_parameter_gradients(&backward).map_err(at_node)?,
            false => (node.operator.input_gradients(&backward).map_err(at_node)?, Vec::new()),
        };
        if is_learning {
            found.push((NodeIdx(idx), to_parameters));
        }
        for ((input, passed), wanted) in node.inputs.iter().zip(passed).zip(wanted) {
            if let Some(passed) = passed.filter(|_| wanted) {
                accumulate(&mut arrived, *input, passed)?;
            }
        }
    }
    found.reverse();
    Ok(found)
}

fn learns(graph: &Graph, idx: NodeIdx) -> bool {
    graph.node(idx).operator.n_parameters() > 0
}

fn accumulate(arrived: &mut [Vec<Option<Value>>], outlet: Outlet, more: Value) -> models::Result<()> {
    let into = &mut arrived[outlet.node.0][outlet.port];
    *into = Some(match into.take() {
        Some(sum) => sum.add(&more)?,
        None => more,
    });
    Ok(())
}

/// The rectifier that computed a node's only input for this node alone, with its bounds: its gradient is part of the
/// node's.
fn rectifier_below(graph: &Graph, consumers: &[Vec<NodeIdx>], idx: usize) -> Option<(NodeIdx, f64, f64)> {
    let [input] = graph.nodes()[idx].inputs[..] else { return None };
    let (low, high) = graph.node(input.node).operator.as_activation()?.function().bounds()?;
    let is_read = graph.outputs().iter().any(|(_, outlet)| outlet.node == input.node);
    (!is_read && consumers[input.node.0] == [NodeIdx(idx)]).then_some((input.node, low, high))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use models::loaders::Weights;
    use models::{Layout, Uninterrupted, zoo};

    use super::*;

    fn wave(n: usize, shift: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 1.7 + shift).sin() * 0.5).collect()
    }

    fn graph(name: &str) -> Graph {
        let graph = zoo::build(zoo::find(name).unwrap(), Weights::random(3)).unwrap();
        graph.to_dtype(DType::F64).unwrap()
    }

    fn score(graph: &Graph, input: &Value, seed: &[f64]) -> f64 {
        let trace = Trace::record(graph, std::slice::from_ref(input), &Uninterrupted).unwrap();
        let output = trace.value(graph.output()).unwrap().to_f64_vec().unwrap();
        output.iter().zip(seed).map(|(output, seed)| output * seed).sum()
    }

    /// A few numbers of every parameter against central differences.
    fn check(name: &str, shape: &[usize]) {
        const STEP: f64 = 1e-6;
        let graph = graph(name);
        let input = Value::from_vec(wave(shape.iter().product(), 1.0), shape, Layout::Logical).unwrap();
        let trace = Trace::record(&graph, std::slice::from_ref(&input), &Uninterrupted).unwrap();
        let output = trace.shape(graph.output()).to_vec();
        let seed = wave(output.iter().product(), 2.0);
        let start = Value::from_vec(seed.clone(), &output, Layout::Logical).unwrap();
        let found = gradients(&graph, &trace, vec![(graph.output(), start)]).unwrap();
        let learning = graph.nodes().iter().filter(|node| node.operator.n_parameters() > 0).count();
        assert_eq!(found.len(), learning);
        for (idx, of_node) in found {
            let node = graph.node(idx);
            for (nth, (parameter, gradient)) in of_node.into_iter().enumerate() {
                let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                for index in [0, gradient.len() / 2, gradient.len() - 1] {
                    let moved = |step: f64| {
                        let mut parameters: Vec<Tensor> =
                            node.operator.parameters().into_iter().map(|(_, tensor)| tensor.clone()).collect();
                        let mut numbers = parameters[nth].flatten_all().unwrap().to_vec1::<f64>().unwrap();
                        numbers[index] += step;
                        parameters[nth] = Tensor::from_vec(numbers, parameters[nth].dims(), &Device::Cpu).unwrap();
                        let operator = node.operator.with_parameters(&parameters).unwrap();
                        graph.with_operators(|at, _| Ok((at == idx).then(|| operator.clone()))).unwrap()
                    };
                    let expected =
                        (score(&moved(STEP), &input, &seed) - score(&moved(-STEP), &input, &seed)) / (2.0 * STEP);
                    let is_close = (gradient[index] - expected).abs() < 1e-5 * expected.abs().max(1.0);
                    assert!(is_close, "{} {parameter} {index}: {} is not {expected}", node.name, gradient[index]);
                }
            }
        }
    }

    #[test]
    fn whole_networks_against_central_differences() {
        check("digits-cnn", &[2, 1, 8, 8]);
        check("denoising-autoencoder", &[2, 3, 9, 7]);
    }
}
