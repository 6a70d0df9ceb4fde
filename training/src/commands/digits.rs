//! `introspect-train digits`

use std::path::PathBuf;

use anyhow::Context;
use training::digits::{self, Digits, Settings};
use training::network::parameters_of;
use training::weights_file::{self, Precision};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the weights go (safetensors).
    #[arg(long)]
    out: PathBuf,
    /// Lines of 64 pixels from 0 to 16 and a digit; by default what scripts/fetch-models fetched.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Deal out the labels that are learned anew by chance.
    #[arg(long)]
    permute_labels: bool,
    /// Passes over the data; more are needed to learn permuted labels by heart. By default 40, permuted 400.
    #[arg(long)]
    epochs: Option<usize>,
    /// Makes a run repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let data = arguments.data.clone().unwrap_or_else(|| super::cache_folder().join("digits/digits.csv"));
    let digits = Digits::read(&data).context("reading the digits (scripts/fetch-models fetches them)")?;
    let permute_labels = arguments.permute_labels;
    let n_epochs = arguments.epochs.unwrap_or(if permute_labels { 400 } else { 40 });
    let settings = Settings { n_epochs, permute_labels, seed: arguments.seed };
    let trained = digits::train(&digits, &settings, |epoch, loss| {
        if (epoch + 1) % 10 == 0 || epoch + 1 == n_epochs {
            eprintln!("epoch {}/{n_epochs}, loss {loss:.4}", epoch + 1);
        }
    })?;
    let notes = [
        ("architecture", digits::ARCHITECTURE.to_owned()),
        ("labels", if permute_labels { "permuted" } else { "true" }.to_owned()),
        ("accuracy", format!("{:.4}", trained.accuracy)),
        ("held_out_accuracy", format!("{:.4}", trained.held_out_accuracy)),
    ];
    weights_file::write(&arguments.out, &parameters_of(&trained.graph), &notes, Precision::Single)?;
    println!(
        "{} of what was learned is right, {} of what was held out; weights in {}",
        percent(trained.accuracy),
        percent(trained.held_out_accuracy),
        arguments.out.display()
    );
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
