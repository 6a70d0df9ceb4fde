//! A learned prior: what a network that takes noise off pictures would change about one says which pictures are likely.
//!
//! Of a denoiser `R` trained on noise of deviation `σ`, `(R(x) - x) / σ²` comes to `∂ log p(x) / ∂x` (Alain and Bengio
//! 2014, equation 3); plug-and-play generative networks climb it beside the objective (Nguyen et al. 2017, equations 5
//! and 9).

use models::{Graph, Interrupt, Layout, Trace, Value};

use super::canvas::{Canvas, InputRange};
use crate::error::{IntrospectionError, Result};

/// A denoising network, and how much it has to say.
///
/// Differs from the paper in its scale: the pull is `(R(x) - x) / σ`, which is about 1 for a picture as noisy as those
/// that the network was trained on and falls to 0 as the picture becomes a likely one, times the root mean square of the
/// objective's gradient. So one weight means the same for every objective and layer.
#[derive(Clone, Copy, Debug)]
pub struct Prior<'a> {
    /// Answers an input with one of its own shape.
    pub graph: &'a Graph,
    /// What it takes a picture's 0 and 1 as; none where it takes the network's input itself.
    pub range: Option<[f64; 2]>,
    /// The noise's deviation `σ`, as a share of that range.
    pub noise: f64,
    /// How hard it pulls at the first step, in proportion to the objective.
    pub weight: f64,
    /// How hard it pulls in the end.
    pub last_weight: f64,
    /// After how many steps that is reached, evenly; it stays so from there on.
    pub over: usize,
}

impl Prior<'_> {
    /// Fails where numbers make no sense, or where the network does not answer with what it is given.
    pub(super) fn check(&self, shape: &[usize]) -> Result<()> {
        for (what, number) in [("prior.weight", self.weight), ("prior.last_weight", self.last_weight)] {
            if !(number.is_finite() && number >= 0.0) {
                let expected = "a number of 0 or more is needed".to_owned();
                return Err(IntrospectionError::OutOfRange { what, asked: number.to_string(), expected });
            }
        }
        if !(self.noise.is_finite() && self.noise > 0.0) {
            let (what, expected) = ("prior.noise", "a positive number is needed".to_owned());
            return Err(IntrospectionError::OutOfRange { what, asked: self.noise.to_string(), expected });
        }
        let given: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
        let answered = match self.graph.inputs() {
            [_] => self.graph.shapes(std::slice::from_ref(&given)),
            inputs => {
                let message = format!("a prior has one input, but this network has {}", inputs.len());
                return Err(IntrospectionError::Unfit(message));
            }
        };
        let answered =
            answered.map_err(|error| IntrospectionError::Unfit(format!("the prior does not fit: {error}")))?;
        let output = self.graph.output();
        let answered = &answered[output.node.0][output.port];
        if *answered != given {
            let message = format!(
                "a prior answers pictures of shape {shape:?} with their like, but this network answers {:?}; a denoising \
                 autoencoder is needed",
                &answered[1..]
            );
            return Err(IntrospectionError::Unfit(message));
        }
        Ok(())
    }

    /// How hard it pulls at a step, counted from 1.
    fn weight_at(&self, step: usize) -> f64 {
        let share = if self.over == 0 { 1.0 } else { ((step - 1) as f64 / self.over as f64).min(1.0) };
        self.weight + (self.last_weight - self.weight) * share
    }

    /// What is added to the objective's gradient at pictures.
    ///
    /// # Shapes
    /// - `pictures`, `gradient`: `[input, plane, row, column]`, returns the same
    pub(super) fn pull(
        &self,
        step: usize,
        (canvas, shape): (Canvas, &[usize]),
        range: &InputRange,
        (pictures, gradient): (&[f64], &[f64]),
        interrupt: &dyn Interrupt,
    ) -> Result<Vec<f64>> {
        let own_range = match (self.range, range) {
            (Some(bounds), InputRange::Bounded(_)) => InputRange::Bounded(vec![bounds]),
            _ => range.clone(),
        };
        let numbers = own_range.input(canvas, pictures);
        let shape: Vec<usize> = std::iter::once(pictures.len() / canvas.len()).chain(shape.iter().copied()).collect();
        let input = Value::from_vec(numbers, &shape, Layout::Logical)?.to_dtype(self.graph.dtype())?;
        let numbers = input.to_f64_vec()?;
        let denoised = Trace::record(self.graph, &[input], interrupt)?.value(self.graph.output())?.to_f64_vec()?;
        let changes: Vec<f64> = denoised.iter().zip(&numbers).map(|(denoised, number)| denoised - number).collect();
        let mut pull = own_range.share(canvas, &changes);
        let weight = self.weight_at(step) / self.noise;
        for (pull, gradient) in pull.chunks_exact_mut(canvas.len()).zip(gradient.chunks_exact(canvas.len())) {
            let squares: f64 = gradient.iter().map(|number| number * number).sum();
            let factor = weight * (squares / gradient.len() as f64).sqrt();
            pull.iter_mut().for_each(|number| *number *= factor);
        }
        Ok(pull)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use models::operators::{Arithmetic, Convolution, ConvolutionParams, Operand};
    use models::{Dim, GraphBuilder, Uninterrupted};

    use super::*;

    const CANVAS: Canvas = Canvas { planes: 1, rows: 2, columns: 2 };

    /// `R(x) = factor · x`, on planes of any size.
    fn scaling(factor: f64) -> Graph {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(1), Dim::Any(8), Dim::Any(8)]).unwrap();
        let factor = Tensor::from_vec(vec![factor], 1, &Device::Cpu).unwrap();
        let scaled = builder.add("scaled", Arithmetic::multiply(Operand::Right(factor)), &[input]).unwrap();
        builder.finish(&[("output", scaled)]).unwrap()
    }

    fn prior(graph: &Graph) -> Prior<'_> {
        Prior { graph, range: Some([-1.0, 1.0]), noise: 0.5, weight: 2.0, last_weight: 0.0, over: 4 }
    }

    #[test]
    fn the_pull_is_its_definition() {
        let graph = scaling(0.5);
        let (pictures, gradient) = ([0.0, 1.0, 0.5, 0.75], [3.0, -3.0, 3.0, 3.0]);
        let range = InputRange::Bounded(vec![[0.0, 255.0]]);
        let of = |step: usize| {
            let at = (CANVAS, &[1, 2, 2][..]);
            prior(&graph).pull(step, at, &range, (&pictures, &gradient), &Uninterrupted).unwrap()
        };
        // x = -1, 1, 0, ½ becomes half as large: changes of ½, -½, 0, -¼ of a range of 2, over σ, times 2 · 3.
        assert_eq!(of(1), [3.0, -3.0, 0.0, -1.5]);
        assert_eq!(of(3), [1.5, -1.5, 0.0, -0.75], "half the way to no pull");
        assert_eq!(of(9), [0.0; 4]);
    }

    #[test]
    fn a_network_that_answers_something_else_is_no_prior() {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(1), Dim::Any(8), Dim::Any(8)]).unwrap();
        let weight = Tensor::from_vec(vec![1.0f64; 18], (2, 1, 3, 3), &Device::Cpu).unwrap();
        let conv = Convolution::new(ConvolutionParams::plain(weight, None)).unwrap();
        let conv = builder.add("conv", conv, &[input]).unwrap();
        let graph = builder.finish(&[("output", conv)]).unwrap();
        assert_eq!(
            prior(&graph).check(&[1, 6, 6]).unwrap_err().to_string(),
            "a prior answers pictures of shape [1, 6, 6] with their like, but this network answers [2, 4, 4]; a denoising autoencoder is needed"
        );
        let other = prior(&graph).check(&[3, 6, 6]).unwrap_err().to_string();
        assert_eq!(other, "the prior does not fit: input `input` must have shape [1, any, any] but has [3, 6, 6]");
        let graph = scaling(0.5);
        let refused = Prior { noise: 0.0, ..prior(&graph) }.check(&[1, 6, 6]).unwrap_err();
        assert_eq!(refused.to_string(), "prior.noise 0 is out of range; a positive number is needed");
    }
}
