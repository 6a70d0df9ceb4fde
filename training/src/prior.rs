//! A learned prior for pictures: a denoiser, trained on crops of photos with noise of every strength up to a bound.
//!
//! See `models/src/zoo/denoising_autoencoder.rs` for the network and what it is used for.

use std::path::{Path, PathBuf};

use models::loaders::Weights;
use models::{Graph, Layout, Outlet, Trace, Uninterrupted, Value, zoo};

use crate::error::{Result, TrainingError};
use crate::losses::mean_squares;
use crate::network::Network;
use crate::optimiser::Schedule;
use crate::random::Random;
use crate::trainer::{Loss, Trainer};

/// The network's name in the zoo.
pub const ARCHITECTURE: &str = "denoising-autoencoder";

const CHANNELS: usize = 3;

/// Rows and columns of a crop.
const CROP: usize = 48;

/// Crops of a step.
const BATCH: usize = 12;

/// The strongest noise that it learns to take away, as a share of the pixels' range.
pub const STRONGEST_NOISE: f64 = 0.25;

/// A photo, `[row, column, channel]` from 0 to 1.
#[derive(Clone, Debug)]
pub struct Photo {
    pub name: String,
    pub n_rows: usize,
    pub n_columns: usize,
    pub pixels: Vec<f32>,
}

impl Photo {
    /// A square part of it, turned over by chance.
    fn crop(&self, random: &mut Random) -> Vec<f32> {
        let (top, left) = (random.below(self.n_rows - CROP + 1), random.below(self.n_columns - CROP + 1));
        let is_mirrored = random.uniform() < 0.5;
        let mut crop = Vec::with_capacity(CROP * CROP * CHANNELS);
        for row in top..top + CROP {
            for column in 0..CROP {
                let column = left + if is_mirrored { CROP - 1 - column } else { column };
                crop.extend_from_slice(&self.pixels[(row * self.n_columns + column) * CHANNELS..][..CHANNELS]);
            }
        }
        crop
    }
}

/// The photos of a folder and the folders in it; those that cannot be read, or are smaller than a crop, are told of.
pub fn read_photos(folder: &Path, mut told: impl FnMut(String)) -> Result<Vec<Photo>> {
    let mut photos = Vec::new();
    for path in files_of(folder)? {
        let photo = match image::open(&path) {
            Ok(photo) => photo.to_rgb32f(),
            Err(error) => {
                told(format!("skipped `{}`: {error}", path.display()));
                continue;
            }
        };
        let (n_rows, n_columns) = (photo.height() as usize, photo.width() as usize);
        if n_rows < CROP || n_columns < CROP {
            told(format!(
                "skipped `{}`: {n_columns} × {n_rows} pixels, and crops have {CROP} × {CROP}",
                path.display()
            ));
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        photos.push(Photo { name, n_rows, n_columns, pixels: photo.into_raw() });
    }
    if photos.is_empty() {
        let folder = folder.display();
        return Err(TrainingError::Corpus(format!(
            "no photos in `{folder}`: PNG or JPEG files of at least {CROP} × {CROP} pixels are needed; scripts/fetch-models fetches some into the cache folder"
        )));
    }
    Ok(photos)
}

/// All pictures within a folder, in the order of their names.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(TrainingError::file(folder))? {
        let path = entry.map_err(TrainingError::file(folder))?.path();
        let is_picture = path
            .extension()
            .is_some_and(|kind| ["png", "jpg", "jpeg"].contains(&kind.to_string_lossy().to_lowercase().as_str()));
        if path.is_dir() {
            files.extend(files_of(&path)?);
        } else if is_picture {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How to train.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub n_steps: usize,
    pub seed: u64,
}

/// How well a denoiser does on crops that it has not seen, in dB of the peak (PSNR).
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    pub noisy: f64,
    pub denoised: f64,
}

/// A trainer before its first step.
pub fn trainer(settings: &Settings) -> Result<Trainer> {
    let entry = zoo::find(ARCHITECTURE).expect("the zoo has it");
    let network = Network::as_it_is(zoo::build(entry, Weights::random(settings.seed))?);
    let schedule = Schedule { peak: 2e-3, warm_up: 50.min(settings.n_steps / 10), n_steps: settings.n_steps };
    let mut trainer = Trainer::new(network, 0.0, schedule, settings.seed);
    trainer.longest_gradient = Some(1.0);
    Ok(trainer)
}

/// One step on crops of these photos; answers the loss.
pub fn step(trainer: &mut Trainer, photos: &[Photo]) -> Result<f64> {
    let mut random = trainer.random();
    let mut clean = Vec::with_capacity(BATCH * CROP * CROP * CHANNELS);
    let mut noisy = Vec::with_capacity(clean.capacity());
    for _ in 0..BATCH {
        let crop = photos[random.below(photos.len())].crop(&mut random);
        let mut with_noise = crop.clone();
        let deviation = random.between(0.0, STRONGEST_NOISE);
        random.add_noise(&mut with_noise, deviation);
        clean.extend(crop);
        noisy.extend(with_noise);
    }
    let (clean, noisy) = (crops(clean, BATCH)?, crops(noisy, BATCH)?);
    trainer.step(&[noisy], &mut random, |network, trace| {
        let output = network.graph().output();
        let (value, derivative) = mean_squares(&trace.value(output)?, &clean)?;
        Ok(Loss { value, derivatives: vec![(output, derivative)] })
    })
}

/// On crops with noise of this deviation.
pub fn quality(graph: &Graph, photos: &[Photo], deviation: f64) -> Result<Quality> {
    const CROPS: usize = 32;
    let mut random = Random::new(0);
    let mut clean = Vec::new();
    for nth in 0..CROPS {
        clean.extend(photos[nth % photos.len()].crop(&mut random));
    }
    let mut noisy = clean.clone();
    random.add_noise(&mut noisy, deviation);
    let trace = Trace::record(graph, &[crops(noisy, CROPS)?], &Uninterrupted)?;
    let clean = crops(clean, CROPS)?;
    let decibels = |value: Value| Ok::<f64, TrainingError>(-10.0 * mean_squares(&value, &clean)?.0.log10());
    let input = trace.value(Outlet { node: graph.inputs()[0], port: 0 })?;
    Ok(Quality { noisy: decibels(input)?, denoised: decibels(trace.value(graph.output())?)? })
}

/// # Shapes
/// - `pixels`: `[crop, row, column, channel]`; returns `[crop, channel, row, column]`, channels last in memory
fn crops(pixels: Vec<f32>, n: usize) -> Result<Value> {
    Ok(Value::from_vec(pixels, &[n, CHANNELS, CROP, CROP], Layout::ChannelsLast)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth waves of colour.
    fn photo(seed: f32) -> Photo {
        let (n_rows, n_columns) = (60, 71);
        let at = |row: usize, column: usize, channel: usize| {
            0.5 + 0.4 * (0.11 * row as f32 + 0.07 * column as f32 * (1.0 + channel as f32) + seed).sin()
        };
        let places = (0..n_rows).flat_map(|row| (0..n_columns).map(move |column| (row, column)));
        let pixels =
            places.flat_map(|(row, column)| (0..CHANNELS).map(move |channel| at(row, column, channel))).collect();
        Photo { name: "waves".to_owned(), n_rows, n_columns, pixels }
    }

    #[test]
    fn what_noise_costs_falls_from_the_first_steps_on() {
        let settings = Settings { n_steps: 24, seed: 1 };
        let mut trainer = trainer(&settings).unwrap();
        let photos = [photo(0.0), photo(1.0)];
        let losses: Vec<f64> = (0..settings.n_steps).map(|_| step(&mut trainer, &photos).unwrap()).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..6]), mean(&losses[settings.n_steps - 6..]));
        assert!(last < 0.8 * first, "{losses:?}");
        let quality = quality(&trainer.network.plain().unwrap(), &[photo(2.0)], 0.1).unwrap();
        assert!((quality.noisy - 20.0).abs() < 0.3, "{quality:?}");
    }

    #[test]
    fn the_denoiser_that_comes_with_the_program_takes_noise_away() {
        let entry = zoo::find(ARCHITECTURE).unwrap();
        let graph = zoo::build(entry, entry.embedded_weights().unwrap().unwrap()).unwrap();
        // Grey waves, and a board of flat fields with hard edges between them; neither was learned.
        let (mut waves, mut board) = (photo(0.0), photo(0.5));
        for pixel in waves.pixels.chunks_exact_mut(CHANNELS) {
            let first = pixel[0];
            pixel.fill(first);
        }
        for (place, pixel) in board.pixels.chunks_exact_mut(CHANNELS).enumerate() {
            let (row, column) = (place / board.n_columns, place % board.n_columns);
            let is_bright = (row / 13 + column / 17) % 2 == 0;
            pixel.copy_from_slice(if is_bright { &[0.8, 0.7, 0.6] } else { &[0.2, 0.25, 0.3] });
        }
        for (picture, gain) in [(waves, 10.0), (board, 4.0)] {
            for deviation in [0.1, 0.2] {
                let quality = quality(&graph, std::slice::from_ref(&picture), deviation).unwrap();
                assert!(quality.denoised > quality.noisy + gain, "{deviation}: {quality:?}");
            }
        }
    }

    #[test]
    fn a_folder_without_photos_is_an_error_that_says_what_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("broken.png"), b"no picture").unwrap();
        image::RgbImage::new(20, 100).save(folder.path().join("small.png")).unwrap();
        let mut told = Vec::new();
        let error = read_photos(folder.path(), |line| told.push(line)).unwrap_err().to_string();
        assert!(error.starts_with("no photos in `") && error.contains("at least 48 × 48 pixels"), "{error}");
        assert!(told.len() == 2 && told[1].contains("20 × 100 pixels"), "{told:?}");
    }
}
