//! `introspect-train phonemes`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use models::speech::Dictionary;
use serde_json::json;
use training::checkpoint;
use training::network::parameters_of;
use training::phonemes::{self, Run, Settings, Wrong};
use training::progress::{Log, Progress};
use training::weights_file::{self, Precision};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A pronouncing dictionary as CMUdict is written; by default what scripts/fetch-models fetched.
    #[arg(long)]
    dictionary: Option<PathBuf>,
    /// Where the weights go (safetensors, half precision); checkpoint and log lie beside.
    #[arg(long)]
    out: PathBuf,
    /// Weights to begin with instead of random ones, with a warm-up of their own.
    #[arg(long)]
    from: Option<PathBuf>,
    /// How often every word is read.
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 2e-3)]
    rate: f64,
    /// Makes a run repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// At most so much is lost when the run is killed.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(120);

/// Every so many held out words one is said between epochs.
const MEASURED: usize = 12;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (learned, held_out) = phonemes::split(&read(arguments.dictionary.as_deref())?);
    eprintln!("learns from {} words; {} are held out", learned.len(), held_out.len());
    let settings = Settings { n_epochs: arguments.epochs, peak_rate: arguments.rate, seed: arguments.seed };
    let trained = arguments.from.as_deref().map(|path| super::trained(path, phonemes::entry())).transpose()?;
    let mut run = Run::new(learned, settings, trained)?;
    let n_steps = arguments.epochs * run.steps_per_epoch();
    let checkpoint = arguments.out.with_extension("checkpoint");
    if checkpoint.exists() {
        let (): () = checkpoint::load(&checkpoint, &mut run.trainer)?;
        eprintln!("goes on from step {} ({})", run.trainer.n_steps, checkpoint.display());
    }
    let mut log = Log::open(&arguments.out.with_extension("log.jsonl"), run.trainer.n_steps)?;
    let mut progress = Progress::new("words", run.trainer.n_steps, n_steps);
    let mut saved = Instant::now();
    while run.trainer.n_steps < n_steps {
        let step = run.trainer.n_steps;
        let done = run.step()?;
        log.write(step, json!({"loss": done.loss, "learning_rate": run.trainer.schedule.learning_rate(step)}))?;
        if let Some(line) = progress.count(step, done.loss, done.n_words as f64) {
            eprintln!("{line}");
        }
        if (step + 1).is_multiple_of(run.steps_per_epoch()) && step + 1 < n_steps {
            let some: Vec<_> = held_out.iter().step_by(MEASURED).cloned().collect();
            let wrong = phonemes::wrong(&run.trainer.network.plain()?, &some)?;
            log.write(step, json!({"word_error": wrong.words.share(), "phoneme_error": wrong.phonemes.share()}))?;
            eprintln!("{}", told(&wrong));
        }
        if saved.elapsed() >= BETWEEN_CHECKPOINTS {
            checkpoint::save(&checkpoint, &run.trainer, &())?;
            saved = Instant::now();
        }
    }
    let graph = run.trainer.network.plain()?;
    let wrong = phonemes::wrong(&graph, &held_out)?;
    let notes = [
        ("architecture", phonemes::ARCHITECTURE.to_owned()),
        ("epochs", arguments.epochs.to_string()),
        ("word_error", format!("{:.4}", wrong.words.share())),
        ("phoneme_error", format!("{:.4}", wrong.phonemes.share())),
    ];
    weights_file::write(&arguments.out, &parameters_of(&graph), &notes, Precision::Half)?;
    println!("{}; weights in {}", told(&wrong), arguments.out.display());
    Ok(())
}

pub(super) fn read(path: Option<&Path>) -> anyhow::Result<Dictionary> {
    let fetched = super::cache_folder().join("dictionary/cmudict.dict");
    let path = path.unwrap_or(&fetched);
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("`{}` (scripts/fetch-models fetches CMUdict)", path.display()))?;
    Dictionary::read(&text).with_context(|| format!("`{}`", path.display()))
}

pub(super) fn told(wrong: &Wrong) -> String {
    let (words, phonemes) = (100.0 * wrong.words.share(), 100.0 * wrong.phonemes.share());
    format!("{words:.1} % of {} held out words are wrong, {phonemes:.2} % of phonemes", wrong.words.n_letters)
}
