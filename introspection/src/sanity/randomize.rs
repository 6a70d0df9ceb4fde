//! The curve: how alike maps stay to those of the network as it was, while unit after unit is randomised.

use models::reinitialize::{FreshNorms, Reinitializer};
use models::{Graph, Interrupt, NodeIdx, Value};

use crate::error::IntrospectionError;
use crate::sanity::units::Unit;
use crate::similarity::{Similarity, View};

/// What is randomised at each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The step's unit and all before it.
    #[default]
    Cascading,
    /// The step's unit alone.
    Independent,
}

/// What shall be randomised and compared.
#[derive(Clone, Debug)]
pub struct Randomization<'a> {
    /// The network as it is.
    pub graph: &'a Graph,
    /// In the order of the steps.
    pub units: &'a [Unit],
    /// Whether steps build on each other.
    pub mode: Mode,
    /// Of the new weights.
    pub seed: u64,
    /// Which layers' outputs are normalised.
    pub norms: FreshNorms,
    /// How maps are compared.
    pub measures: &'a [Similarity],
    /// What batch norms see first: the network's input, one row or more.
    pub first_batch: Value,
}

/// How alike maps are after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What was randomised last.
    pub unit: String,
    /// For each measure how alike the maps of each input are.
    pub similarities: Vec<Vec<f64>>,
}

impl Randomization<'_> {
    /// The curve, a step for each unit.
    ///
    /// `originals` are the maps of the network as it is; `explain` makes those of another with the same layers.
    pub fn curve<E: From<IntrospectionError>>(
        &self,
        originals: &[View],
        explain: &mut dyn FnMut(&Graph) -> Result<Vec<View>, E>,
        interrupt: &dyn Interrupt,
    ) -> Result<Vec<Step>, E> {
        let of_views = |views: &[View]| -> Vec<Vec<Vec<f64>>> {
            self.measures.iter().map(|measure| views.iter().map(|view| measure.features(view)).collect()).collect()
        };
        let original = of_views(originals);
        let mut steps = Vec::with_capacity(self.units.len());
        let mut random = Reinitializer::new(self.graph, self.seed, self.norms, vec![self.first_batch.clone()]);
        for nth in 0..self.units.len() {
            interrupt.progress(nth, self.units.len());
            let of_error = |error| E::from(IntrospectionError::Model(error));
            let graph = random.randomized(&self.layers_of(nth), interrupt).map_err(of_error)?;
            let changed = of_views(&explain(&graph)?);
            let of_measure = |nth: usize| {
                let pairs = original[nth].iter().zip(&changed[nth]).zip(originals);
                pairs.map(|((before, after), view)| self.measures[nth].of(before, after, view.shape())).collect()
            };
            let similarities = (0..self.measures.len()).map(of_measure).collect();
            steps.push(Step { unit: self.units[nth].name.clone(), similarities });
            models::pause::point();
        }
        interrupt.progress(self.units.len(), self.units.len());
        Ok(steps)
    }

    fn layers_of(&self, nth: usize) -> Vec<NodeIdx> {
        let units = match self.mode {
            Mode::Cascading => &self.units[..=nth],
            Mode::Independent => &self.units[nth..=nth],
        };
        units.iter().flat_map(|unit| unit.layers.iter().copied()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sanity::units::{Grouping, units};
    use candle_core::{Device, Tensor};
    use models::operators::{Activation, Dense, PointwiseFunction};
    use models::{Dim, GraphBuilder, Layout, Trace, Uninterrupted};

    fn dense(n_out: usize, n_in: usize, seed: usize) -> Dense {
        let number = |at: usize| ((at * 7 + seed * 13) as f64 * 0.61).sin();
        let weight = Tensor::from_vec((0..n_out * n_in).map(number).collect::<Vec<f64>>(), (n_out, n_in), &Device::Cpu);
        Dense::new(weight.unwrap(), None).unwrap()
    }

    /// Two blocks of two dense layers, then the logits.
    pub(in crate::sanity) fn network() -> Graph {
        let mut builder = GraphBuilder::new();
        let mut x = builder.input("input", &[Dim::Known(30)]).unwrap();
        for (nth, name) in ["blocks.0.a", "blocks.0.b", "blocks.1.a", "blocks.1.b"].into_iter().enumerate() {
            x = builder.add(name, dense(30, 30, nth), &[x]).unwrap();
            let relu = if nth == 0 { "relu".to_owned() } else { format!("relu_{nth}") };
            x = builder.add(&relu, Activation::new(PointwiseFunction::LeakyRelu { alpha: 0.1 }), &[x]).unwrap();
        }
        let logits = builder.add("fc", dense(5, 30, 9), &[x]).unwrap();
        builder.finish(&[("output", logits)]).unwrap()
    }

    fn input() -> Value {
        Value::from_vec((0..30).map(|n| f64::from(n).cos()).collect(), &[1, 30], Layout::Logical).unwrap()
    }

    /// What stands before the logits, as if it were a map.
    fn curve(graph: &Graph, units: &[Unit], mode: Mode) -> Vec<Step> {
        let plan = Randomization {
            graph,
            units,
            mode,
            seed: 3,
            norms: FreshNorms::Own,
            measures: &[Similarity::Spearman, Similarity::Ssim],
            first_batch: input(),
        };
        let mut explain = |graph: &Graph| -> Result<Vec<View>, IntrospectionError> {
            let trace = Trace::record(graph, &[input()], &Uninterrupted)?;
            let value = trace.value(graph.layer("relu_3")?)?;
            Ok(vec![View::new(&value.to_f64_vec()?, &[30])])
        };
        plan.curve(&explain(graph).unwrap(), &mut explain, &Uninterrupted).unwrap()
    }

    #[test]
    fn what_lies_above_the_map_changes_nothing_and_what_lies_below_does() {
        let graph = network();
        let steps = curve(&graph, &units(&graph, Grouping::Layer), Mode::Cascading);
        let names: Vec<&str> = steps.iter().map(|step| step.unit.as_str()).collect();
        assert_eq!(names, ["fc", "blocks.1.b", "blocks.1.a", "blocks.0.b", "blocks.0.a"]);
        assert_eq!(steps[0].similarities, [[1.0], [1.0]]);
        assert!(steps[1..].iter().all(|step| step.similarities[0][0] < 0.7), "{steps:?}");
    }

    #[test]
    fn no_weights_at_all_is_the_original() {
        let graph = network();
        let nothing = [Unit { name: "nothing".to_owned(), layers: vec![] }];
        assert_eq!(curve(&graph, &nothing, Mode::Cascading)[0].similarities, [[1.0], [1.0]]);
    }

    #[test]
    fn cascading_is_independent_of_the_units_together() {
        let graph = network();
        let all = units(&graph, Grouping::Layer);
        let cascading = curve(&graph, &all, Mode::Cascading);
        for n in 1..=all.len() {
            let layers = all[..n].iter().flat_map(|unit| unit.layers.clone()).collect();
            let together = [Unit { name: "together".to_owned(), layers }];
            let once = curve(&graph, &together, Mode::Independent);
            assert_eq!(once[0].similarities, cascading[n - 1].similarities);
        }
        let independent = curve(&graph, &all, Mode::Independent);
        assert_eq!(independent[0].similarities, [[1.0], [1.0]]);
        assert_eq!(independent[1].similarities, cascading[1].similarities, "the first that counts");
        assert_ne!(independent[2].similarities, cascading[2].similarities);
    }
}
