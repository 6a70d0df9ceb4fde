//! `introspect-train speech`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use training::checkpoint;
use training::network::parameters_of;
use training::progress::{Log, Progress};
use training::speech::corpus::{self, Recogniser, Utterance};
use training::speech::letter_error::{summed, transcribe};
use training::speech::{Run, Settings};
use training::weights_file::{self, Precision};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A folder of sounds with transcripts, as LibriSpeech has them or with a manifest; may be given again.
    #[arg(long, required = true)]
    corpus: Vec<PathBuf>,
    /// The same of voices and sentences that are not trained on, to measure by.
    #[arg(long)]
    dev: Option<PathBuf>,
    /// Where the weights go (safetensors, half precision); checkpoint and log lie beside.
    #[arg(long)]
    out: PathBuf,
    /// A recogniser of the zoo.
    #[arg(long, default_value = "wav2letter-small")]
    architecture: String,
    /// Hours of speech that are heard in all, the same ones again and again.
    #[arg(long, default_value_t = 300.0)]
    hours: f64,
    /// Train for so long instead: the learning rate falls to nothing as the time runs out.
    #[arg(long, conflicts_with = "hours")]
    minutes: Option<f64>,
    /// Weights to begin with instead of random ones, with a warm-up of their own.
    #[arg(long)]
    from: Option<PathBuf>,
    /// The highest learning rate.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds of speech in a batch.
    #[arg(long)]
    batch_seconds: Option<f64>,
    /// The share of numbers left out behind each layer while training.
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
    /// Where to compute: `cpu`, or `cuda` in a program that was built with that feature.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Makes a run repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many seconds, at a checkpoint; the same command goes on.
    #[arg(long)]
    pause_after: Option<u64>,
}

/// At most so much is lost when the run is killed.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(120);

/// Utterances that the letter error is measured on between epochs.
const MEASURED: usize = 64;

/// It takes a second; where an epoch is as short, not behind every one.
const BETWEEN_MEASUREMENTS: Duration = Duration::from_secs(30);

/// Hours heard, beside the checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Heard {
    hours: f64,
    /// How long it took so far (s).
    #[serde(default)]
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let recogniser = Recogniser::of(&arguments.architecture)?;
    let mut utterances = Vec::new();
    for folder in &arguments.corpus {
        let more = corpus::read(folder, &recogniser, |line| eprintln!("{line}"))?;
        eprintln!("{}: {} utterances, {:.1} h", folder.display(), more.len(), hours(&more, &recogniser));
        utterances.extend(more);
    }
    let dev = match &arguments.dev {
        Some(folder) => spread(corpus::read(folder, &recogniser, |line| eprintln!("{line}"))?, MEASURED),
        None => Vec::new(),
    };
    let trained = arguments.from.as_deref().map(|path| super::trained(path, recogniser.entry)).transpose()?;
    let mut settings = Settings::new(&arguments.architecture, 1);
    settings.device = models::device::device_named(&arguments.device)?;
    // Ten bits are enough to train with, and a device multiplies them several times as fast.
    models::device::round_products(true);
    settings.dropout = arguments.dropout;
    settings.seed = arguments.seed;
    settings.peak_rate = arguments.rate.unwrap_or(settings.peak_rate);
    settings.batch_seconds = arguments.batch_seconds.unwrap_or(settings.batch_seconds);
    // How many steps an hour is follows from how the utterances fill batches.
    let per_epoch = Run::new(settings.clone(), &utterances, None)?.steps_per_epoch();
    let n_epochs = arguments.hours / hours(&utterances, &recogniser);
    settings.n_steps = ((n_epochs * per_epoch as f64).round() as usize).max(1);
    // With `--minutes` it is found out as the run goes, also of one that goes on.
    let mut n_steps = if arguments.minutes.is_some() { usize::MAX } else { settings.n_steps };
    let mut run = Run::new(settings, &utterances, trained)?;

    let checkpoint = arguments.out.with_extension("checkpoint");
    let mut heard = Heard::default();
    if checkpoint.exists() {
        heard = checkpoint::load(&checkpoint, &mut run.trainer)?;
        eprintln!("goes on from step {} ({})", run.trainer.n_steps, checkpoint.display());
    }
    let mut log = Log::open(&arguments.out.with_extension("log.jsonl"), run.trainer.n_steps)?;
    let mut progress = Progress::new("s of speech", run.trainer.n_steps, n_steps);
    let (started, mut saved, mut measured) = (Instant::now(), Instant::now(), None::<Instant>);
    let before = heard.seconds;
    while run.trainer.n_steps < n_steps {
        let step = run.trainer.n_steps;
        if let Some(minutes) = arguments.minutes {
            // As many steps as there will be at the rate so far; the first ones are slow and tell little.
            let done = (before + started.elapsed().as_secs_f64()) / (60.0 * minutes);
            if done >= 1.0 {
                break;
            }
            n_steps = if step < 20 { step + 100_000 } else { ((step as f64 / done) as usize).max(step + 1) };
            run.set_n_steps(n_steps);
            progress.set_n_steps(n_steps);
        }
        let done = run.step(&utterances)?;
        heard.hours += done.seconds / 3600.0;
        heard.seconds = before + started.elapsed().as_secs_f64();
        log.write(step, json!({"loss": done.loss, "learning_rate": run.trainer.schedule.learning_rate(step)}))?;
        if let Some(line) = progress.count(step, done.loss, done.seconds) {
            eprintln!("{line}");
        }
        let is_due = measured.is_none_or(|at| at.elapsed() >= BETWEEN_MEASUREMENTS);
        if is_due && (step + 1).is_multiple_of(per_epoch) && step + 1 < n_steps {
            measured = Some(Instant::now());
            measure(&run, &dev, &heard, &mut log)?;
        }
        let is_paused = arguments.pause_after.is_some_and(|seconds| started.elapsed().as_secs() >= seconds);
        if saved.elapsed() >= BETWEEN_CHECKPOINTS || is_paused {
            checkpoint::save(&checkpoint, &run.trainer, &heard)?;
            saved = Instant::now();
        }
        if is_paused && step + 1 < n_steps {
            println!("paused at step {} of {n_steps}; the same command goes on", step + 1);
            return Ok(());
        }
    }
    measure(&run, &dev, &heard, &mut log)?;
    let notes = [
        ("architecture", arguments.architecture.clone()),
        ("hours_heard", format!("{:.1}", heard.hours)),
        ("steps", run.trainer.n_steps.to_string()),
    ];
    let parameters = parameters_of(&run.trainer.network.plain()?);
    weights_file::write(&arguments.out, &parameters, &notes, Precision::Half)?;
    // With the last weights, so that the same command ends at once where its weights were lost.
    checkpoint::save(&checkpoint, &run.trainer, &heard)?;
    println!("{:.1} h heard; weights in {}", heard.hours, arguments.out.display());
    Ok(())
}

/// The letter error on what is not trained on, where there is such.
fn measure(run: &Run, dev: &[Utterance], heard: &Heard, log: &mut Log) -> anyhow::Result<()> {
    if dev.is_empty() {
        return Ok(());
    }
    let (errors, _) = summed(&transcribe(&run.trainer.network.plain()?, &run.recogniser, dev)?);
    log.write(run.trainer.n_steps, json!({"letter_error": errors.share(), "hours": heard.hours}))?;
    eprintln!("after {:.1} h: letter error {:.3} on {} utterances", heard.hours, errors.share(), dev.len());
    Ok(())
}

fn hours(utterances: &[Utterance], recogniser: &Recogniser) -> f64 {
    utterances.iter().map(|utterance| utterance.n_frames as f64).sum::<f64>() * recogniser.seconds_per_frame / 3600.0
}

/// So many of them, from beginning to end.
fn spread(all: Vec<Utterance>, n: usize) -> Vec<Utterance> {
    let step = all.len().div_ceil(n).max(1);
    all.into_iter().step_by(step).collect()
}
