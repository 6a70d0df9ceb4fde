//! `introspect-train phoneme-error`

use std::path::PathBuf;

use anyhow::Context;
use models::loaders::Weights;
use models::zoo;
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
    let path = arguments.weights.display().to_string();
    let refuse = || format!("`{path}` are no weights of `{}`", phonemes::ARCHITECTURE);
    let bytes = std::fs::read(&arguments.weights).with_context(|| format!("`{path}`"))?;
    let checkpoint = models::loaders::safetensors::load(&bytes).with_context(refuse)?;
    let entry = zoo::find(phonemes::ARCHITECTURE).context("the zoo has no phonemizer")?;
    let graph = zoo::build(entry, Weights::from_checkpoint(checkpoint)).with_context(refuse)?;
    println!("{}", super::phonemes::told(&phonemes::wrong(&graph, &held_out)?));
    Ok(())
}
