//! `introspect-train phoneme-error`

use std::path::PathBuf;

use training::phonemes;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Trained weights (safetensors).
    #[arg(long)]
    weights: PathBuf,
    /// A pronouncing dictionary as CMUdict is written; by default what scripts/fetch-models fetched.
    #[arg(long)]
    dictionary: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (_, held_out) = phonemes::split(&super::phonemes::read(arguments.dictionary.as_deref())?);
    let graph = super::trained(&arguments.weights, phonemes::entry())?;
    println!("{}", super::phonemes::told(&phonemes::wrong(&graph, &held_out)?));
    Ok(())
}
