//! Weights that rules of relevance changed (positive parts, squares and the like): made once, kept with their model, and
//! let go under a budget of bytes, those of the model first whose relevance was asked longest ago.
//!
//! Weights that were let go change the time of an answer, never the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::held_model::HeldModel;

/// When relevance was asked of a model: how many times of any before; 0 where never.
#[derive(Debug, Default)]
pub(crate) struct LastAsked(AtomicU64);

impl LastAsked {
    /// Now.
    pub(crate) fn note(&self) {
        static ASKED: AtomicU64 = AtomicU64::new(1);
        self.0.store(ASKED.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The budget, and how often it was passed.
#[derive(Debug)]
pub(crate) struct ChangedWeights {
    budget_bytes: usize,
    evictions: AtomicU64,
}

impl ChangedWeights {
    /// So many bytes for all models.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        ChangedWeights { budget_bytes, evictions: AtomicU64::new(0) }
    }

    /// Lets go what is over the budget.
    pub(crate) fn keep_within_budget(&self, models: &[Arc<HeldModel>]) {
        let mut asked: Vec<(u64, &Arc<HeldModel>)> = asked(models).collect();
        asked.sort_unstable_by_key(|(when, _)| *when);
        let mut bytes: usize = asked.iter().map(|(_, model)| model.graph.reweighted_bytes()).sum();
        for (_, model) in asked {
            if bytes <= self.budget_bytes {
                return;
            }
            bytes -= model.graph.reweighted_bytes();
            model.graph.release_reweighted();
            model.relevance_asked.0.store(0, Ordering::Relaxed);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Figures for `server.stats`.
    pub(crate) fn stats(&self, models: &[Arc<HeldModel>]) -> client_protocol::server::Cache {
        client_protocol::server::Cache {
            name: "changed_weights".to_owned(),
            entries: asked(models).count(),
            bytes: asked(models).map(|(_, model)| model.graph.reweighted_bytes()).sum(),
            budget_bytes: Some(self.budget_bytes),
            hits: 0,
            misses: 0,
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }
}

/// The models that may hold such weights, with when their relevance was last asked.
fn asked(models: &[Arc<HeldModel>]) -> impl Iterator<Item = (u64, &Arc<HeldModel>)> {
    let when = |model: &Arc<HeldModel>| model.relevance_asked.0.load(Ordering::Relaxed);
    models.iter().map(move |model| (when(model), model)).filter(|(when, _)| *when > 0)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use models::operators::{Dense, Reweighting};
    use models::{Dim, GraphBuilder};

    use super::*;

    /// A dense layer of 8 weights, whose positive parts are 32 bytes.
    fn model(id: &str) -> Arc<HeldModel> {
        let mut graph = GraphBuilder::new();
        let input = graph.input("input", &[Dim::Known(1), Dim::Known(4)]).unwrap();
        let weight = Tensor::ones((2, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let output = graph.add("dense", Dense::new(weight, None).unwrap(), &[input]).unwrap();
        let graph = graph.finish(&[("output", output)]).unwrap();
        Arc::new(HeldModel::new(id.to_owned(), id.to_owned(), graph, vec![], None, None).unwrap())
    }

    fn ask(model: &HeldModel) {
        model.relevance_asked.note();
        let dense = &model.graph.nodes()[1].operator;
        dense.reweighted(Reweighting::POSITIVE, None).unwrap().unwrap();
    }

    #[test]
    fn the_model_asked_longest_ago_loses_its_weights_first() {
        let models = ["a", "b", "c"].map(model).to_vec();
        let weights = ChangedWeights::new(64);
        for nth in [0, 1, 0] {
            ask(&models[nth]);
        }
        weights.keep_within_budget(&models);
        assert_eq!((weights.stats(&models).bytes, weights.stats(&models).evictions), (64, 0));
        ask(&models[2]);
        weights.keep_within_budget(&models);
        let held: Vec<usize> = models.iter().map(|model| model.graph.reweighted_bytes()).collect();
        assert_eq!(held, [32, 0, 32]);
        let stats = weights.stats(&models);
        assert_eq!((stats.entries, stats.bytes, stats.evictions), (2, 64, 1));
    }

    #[test]
    fn what_is_larger_than_the_budget_is_not_kept() {
        let models = [model("a")];
        ask(&models[0]);
        ChangedWeights::new(31).keep_within_budget(&models);
        assert_eq!(models[0].graph.reweighted_bytes(), 0);
        ask(&models[0]);
        assert_eq!(models[0].graph.reweighted_bytes(), 32, "made anew");
    }
}
