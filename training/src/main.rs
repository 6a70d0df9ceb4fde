//! `introspect-train`: one command for each thing that the project trains.

mod commands;

use clap::Parser;

/// Trains networks that Introspect explains.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// A small network for handwritten digits, on true or on permuted labels.
    Digits(commands::digits::Arguments),
    /// A denoiser for pictures, the learned prior of feature visualisation.
    Prior(commands::prior::Arguments),
    /// A recogniser of letters.
    Speech(commands::speech::Arguments),
    /// A phonemizer, from letters to phonemes, out of a pronouncing dictionary.
    Phonemes(commands::phonemes::Arguments),
    /// How many words and phonemes of a dictionary's held out tenth a phonemizer gets wrong.
    PhonemeError(commands::phoneme_error::Arguments),
    /// How many letters a recogniser gets wrong, by voice and corpus.
    SpeechError(commands::speech_error::Arguments),
}

#[global_allocator]
static ALLOCATOR: models::memory::CacheLines = models::memory::CacheLines;

fn main() -> anyhow::Result<()> {
    // Each step allocates and frees as much as the one before.
    models::memory::keep_what_is_freed();
    match Command::parse() {
        Command::Digits(arguments) => commands::digits::run(&arguments),
        Command::Prior(arguments) => commands::prior::run(&arguments),
        Command::Speech(arguments) => commands::speech::run(&arguments),
        Command::Phonemes(arguments) => commands::phonemes::run(&arguments),
        Command::PhonemeError(arguments) => commands::phoneme_error::run(&arguments),
        Command::SpeechError(arguments) => commands::speech_error::run(&arguments),
    }
}
