//! `introspect-train speech-error`

use std::path::PathBuf;

use training::speech::corpus::{self, Recogniser};
use training::speech::letter_error::{Errors, summed, transcribe};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Weights of the recogniser (safetensors).
    #[arg(long)]
    weights: PathBuf,
    /// A folder of sounds with transcripts; may be given again.
    #[arg(long, required = true)]
    corpus: Vec<PathBuf>,
    /// The recogniser's name in the zoo.
    #[arg(long, default_value = "wav2letter-small")]
    architecture: String,
    /// Shows so many utterances beside what was written down.
    #[arg(long, default_value_t = 3)]
    show: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let recogniser = Recogniser::of(&arguments.architecture)?;
    let graph = super::trained(&arguments.weights, recogniser.entry)?;
    for folder in &arguments.corpus {
        let utterances = corpus::read(folder, &recogniser, |line| eprintln!("{line}"))?;
        let transcribed = transcribe(&graph, &recogniser, &utterances)?;
        let (all, by_speaker) = summed(&transcribed);
        println!("{}: {}", folder.display(), said(&all));
        for (speaker, errors) in by_speaker.iter().filter(|(speaker, _)| !speaker.is_empty()) {
            println!("  speaker {speaker}: {}", said(errors));
        }
        let step = transcribed.len().div_ceil(arguments.show.max(1)).max(1);
        for one in transcribed.iter().step_by(step).take(arguments.show) {
            println!("  said:    {}\n  written: {}", one.said, one.written);
        }
    }
    Ok(())
}

fn said(errors: &Errors) -> String {
    format!("letter error {:.3} ({} of {} letters)", errors.share(), errors.n_errors, errors.n_letters)
}
