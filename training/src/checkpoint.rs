//! All that a run needs to go on, in one file: parameters, the optimiser's memory, and where the run was, as JSON in the
//! notes. One file is renamed into place at once, so that a run which was killed finds a whole state of one step.

use std::path::Path;

use candle_core::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, TrainingError};
use crate::optimiser::Memory;
use crate::trainer::Trainer;
use crate::weights_file::{self, Precision};

const MEANS: &str = "adam.means/";
const SQUARES: &str = "adam.squares/";

/// The run's state, in the notes.
const STATE: &str = "state";

/// The trainer's part of the state.
const STEPS: &str = "steps";

/// Writes a run's state, with what the caller needs beside it.
pub fn save(path: &Path, trainer: &Trainer, state: &impl Serialize) -> Result<()> {
    let mut tensors = trainer.network.state()?;
    for (name, memory) in &trainer.optimiser.memory {
        for (prefix, tensor) in [(MEANS, &memory.means), (SQUARES, &memory.squares)] {
            tensors.push((format!("{prefix}{name}"), tensor.to_device(&Device::Cpu)?));
        }
    }
    let state = serde_json::to_string(state).map_err(|error| TrainingError::content(path, error.to_string()))?;
    let notes = [(STATE, state), (STEPS, trainer.n_steps.to_string())];
    weights_file::write(path, &tensors, &notes, Precision::Single)
}

/// Puts a run's state back; answers what the caller saved beside it.
pub fn load<S: DeserializeOwned>(path: &Path, trainer: &mut Trainer) -> Result<S> {
    let (mut tensors, notes) = weights_file::read(path)?;
    let refuse = |reason: String| TrainingError::content(path, reason);
    let note =
        |key: &str| notes.get(key).ok_or_else(|| refuse(format!("it is no checkpoint: no `{key}` in its notes")));
    let n_steps = note(STEPS)?.parse().map_err(|_| refuse(format!("`{STEPS}` is no number")))?;
    let state =
        serde_json::from_str(note(STATE)?).map_err(|error| refuse(format!("its state is unreadable: {error}")))?;
    let mut memory = std::collections::BTreeMap::<String, Memory>::new();
    let names: Vec<String> = tensors.keys().filter_map(|name| name.strip_prefix(MEANS)).map(str::to_owned).collect();
    for name in names {
        let mut take = |prefix: &str| {
            let missing = || refuse(format!("`{prefix}{name}` is missing"));
            tensors.remove(&format!("{prefix}{name}")).ok_or_else(missing)
        };
        let (means, squares) = (take(MEANS)?, take(SQUARES)?);
        memory.insert(name, Memory { means, squares });
    }
    trainer.network.restore(&tensors).map_err(|error| refuse(error.to_string()))?;
    trainer.optimiser.memory = memory;
    trainer.optimiser.n_steps = n_steps;
    trainer.n_steps = n_steps;
    Ok(state)
}
