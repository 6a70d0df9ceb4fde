//! The denoising network of a learned prior: one that is loaded, or a file with one's weights.

use std::sync::Arc;

use client_protocol::visualization::{Prior, PriorRef};
use client_protocol::{ErrorKind, ErrorObject};
use introspection::visualization::Prior as LibraryPrior;
use serde_json::json;

use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::model;
use crate::state::State;

/// What files that hold weights alone are for.
const ARCHITECTURE: &str = "denoising-autoencoder";

/// A prior with its network.
pub(super) struct HeldPrior {
    asked: Prior,
    pub(super) model: Arc<HeldModel>,
}

impl HeldPrior {
    /// As the library has it.
    pub(super) fn of_library(&self) -> LibraryPrior<'_> {
        let Prior { weight, last_weight, over, noise, .. } = self.asked;
        LibraryPrior {
            graph: &self.model.graph,
            range: self.model.value_range.map(|bounds| bounds.map(f64::from)),
            noise,
            weight,
            last_weight: last_weight.unwrap_or(weight),
            over,
        }
    }
}

/// Finds or loads the network.
pub(super) fn held(state: &Arc<State>, asked: PriorRef, token: &Token) -> Result<HeldPrior, ErrorObject> {
    let asked = Prior::from(asked);
    let held = state.models().get(&asked.source);
    let model = match held {
        Ok(model) => model,
        Err(_) => {
            let has_weights_alone = [".safetensors", ".pth", ".pt"].iter().any(|end| asked.source.ends_with(end));
            let architecture = has_weights_alone.then_some(ARCHITECTURE);
            let params = serde_json::from_value(json!({"source": asked.source, "architecture": architecture}));
            let params = params.map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))?;
            let loaded = model::load(state, params, token).map_err(|error| error.field("prior"))?;
            state.models().get(&loaded.model)?
        }
    };
    Ok(HeldPrior { asked, model })
}
