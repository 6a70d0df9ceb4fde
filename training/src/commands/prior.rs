//! `introspect-train prior`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use training::checkpoint;
use training::network::parameters_of;
use training::prior::{self, Settings};
use training::progress::{Log, Progress};
use training::weights_file::{self, Precision};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A folder of photos (PNG, JPEG); every fifth is held out to measure by, where there are five.
    #[arg(long)]
    corpus: PathBuf,
    /// Where the weights go (safetensors, half precision).
    #[arg(long)]
    out: PathBuf,
    /// Steps, each on twelve crops.
    #[arg(long, default_value_t = 3000)]
    steps: usize,
    /// Makes a run repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// At most so much is lost when the run is killed.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let photos = prior::read_photos(&arguments.corpus, |line| eprintln!("{line}"))?;
    let (mut learned, mut held_out) = (Vec::new(), Vec::new());
    for (nth, photo) in photos.into_iter().enumerate() {
        if nth % 5 == 4 { held_out.push(photo) } else { learned.push(photo) }
    }
    if held_out.is_empty() {
        held_out.clone_from(&learned);
    }
    let names = |photos: &[prior::Photo]| photos.iter().map(|photo| photo.name.clone()).collect::<Vec<_>>().join(", ");
    eprintln!("learns from {}; measured on {}", names(&learned), names(&held_out));

    let settings = Settings { n_steps: arguments.steps, seed: arguments.seed };
    let mut trainer = prior::trainer(&settings)?;
    let checkpoint = arguments.out.with_extension("checkpoint");
    if checkpoint.exists() {
        let (): () = checkpoint::load(&checkpoint, &mut trainer)?;
        eprintln!("goes on from step {} ({})", trainer.n_steps, checkpoint.display());
    }
    let mut log = Log::open(&arguments.out.with_extension("log.jsonl"), trainer.n_steps)?;
    let mut progress = Progress::new("crops", trainer.n_steps, settings.n_steps);
    let mut saved = Instant::now();
    while trainer.n_steps < settings.n_steps {
        let step = trainer.n_steps;
        let loss = prior::step(&mut trainer, &learned)?;
        log.write(step, json!({"loss": loss, "learning_rate": trainer.schedule.learning_rate(step)}))?;
        if let Some(line) = progress.count(step, loss, 12.0) {
            eprintln!("{line}");
        }
        if saved.elapsed() >= BETWEEN_CHECKPOINTS {
            checkpoint::save(&checkpoint, &trainer, &())?;
            saved = Instant::now();
        }
    }
    let graph = trainer.network.plain()?;
    let mut notes = vec![("architecture", prior::ARCHITECTURE.to_owned())];
    for (name, deviation) in [("psnr_at_0.05", 0.05), ("psnr_at_0.1", 0.1), ("psnr_at_0.2", 0.2)] {
        let quality = prior::quality(&graph, &held_out, deviation)?;
        println!("noise of {deviation}: {:.2} dB become {:.2} dB", quality.noisy, quality.denoised);
        notes.push((name, format!("{:.2}", quality.denoised)));
    }
    weights_file::write(&arguments.out, &parameters_of(&graph), &notes, Precision::Half)?;
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint)?;
    }
    println!("weights in {}", arguments.out.display());
    Ok(())
}
