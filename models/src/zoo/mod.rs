//! Networks that are known by name: their builders, and what goes with them.
//!
//! A builder names parameters as the weights' file does and layers as the module path without leading underscores;
//! reused modules and functions as torchvision's feature extraction names them.

mod builder;
mod denoising_autoencoder;
mod digits_cnn;
mod efficientnet_lite0;
mod phonemizer;
mod resnet;
mod vgg16;
mod wav2letter;

use crate::description::{CtcSettings, FrontEnd, Labels, ModelDescription};
use crate::front_ends::audio::AudioFrontEnd;
use crate::front_ends::image::{ImageFrontEnd, Resampling};
use crate::graph::Graph;
use crate::loaders::{LoadError, Weights, safetensors};

/// A network that is known by name.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub summary: &'static str,
    /// Makes the graph.
    pub build: fn(&mut Weights) -> Result<Graph, LoadError>,
    /// How files become its input, what its classes are called.
    pub description: fn() -> ModelDescription,
    /// The file of trained weights within the cache folder, where there is one.
    pub weights_file: Option<&'static str>,
    /// Trained weights (safetensors) that come with the program.
    pub embedded: Option<&'static [u8]>,
    /// The command that fetches them.
    pub fetch: Option<&'static str>,
}

impl Entry {
    /// The trained weights that come with the program, where there are some.
    pub fn embedded_weights(&self) -> Option<Result<Weights, LoadError>> {
        let checkpoint = safetensors::load(&self.embedded?);
        Some(checkpoint.map(Weights::from_checkpoint))
    }
}

const ENTRIES: &[Entry] = &[
    Entry {
        name: "efficientnet-lite0",
        summary: "EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet: 4.7 million parameters, no squeeze-and-excitation, ReLU6",
        build: efficientnet_lite0::build,
        description: efficientnet_lite0_description,
        weights_file: Some("models/efficientnet-lite0.pth"),
        fetch: Some("scripts/fetch-models"),
        embedded: None,
    },
    Entry {
        name: "vgg16",
        summary: "VGG-16 (Simonyan and Zisserman 2015) with torchvision's names: 138 million parameters",
        build: vgg16::build,
        description: || torchvision("vgg16"),
        weights_file: None,
        fetch: None,
        embedded: None,
    },
    Entry {
        name: "resnet18",
        summary: "ResNet-18 (He et al. 2016) with torchvision's names: 11.7 million parameters",
        build: resnet::build_18,
        description: || torchvision("resnet18"),
        weights_file: None,
        fetch: None,
        embedded: None,
    },
    Entry {
        name: "resnet50",
        summary: "ResNet-50 (He et al. 2016) with torchvision's names: 25.6 million parameters",
        build: resnet::build_50,
        description: || torchvision("resnet50"),
        weights_file: None,
        fetch: None,
        embedded: None,
    },
    Entry {
        name: "wav2letter",
        summary: "Wav2Letter (Collobert et al. 2016), plain: 128 mel bands in, 29 letters out, 1000 frames give 500, trained by `introspect-train speech`",
        build: wav2letter::build_plain,
        description: || ModelDescription { value_range: Some([-1.5, 4.5]), ..letters("wav2letter", 128) },
        // Too large to be part of every program.
        weights_file: Some("models/wav2letter.safetensors"),
        fetch: Some("scripts/fetch-models"),
        embedded: None,
    },
    Entry {
        name: "wav2letter-small",
        summary: "Wav2Letter's shape, narrower: 40 mel bands in, 29 letters out, 4.3 million parameters, trained by `introspect-train speech`",
        build: wav2letter::build_small,
        // What nearly all frames of the speech that it was trained on lie within.
        description: || ModelDescription { value_range: Some([-1.5, 4.5]), ..letters("wav2letter-small", 40) },
        weights_file: None,
        fetch: None,
        embedded: Some(include_bytes!("../../weights/wav2letter-small.safetensors")),
    },
    Entry {
        name: "wav2letter-torchaudio",
        summary: "Wav2Letter as torchaudio has it: 128 features in, 29 letters out, a rectifier and a log-softmax at the end",
        build: wav2letter::build_torchaudio,
        description: || letters("wav2letter-torchaudio", 128),
        weights_file: None,
        fetch: None,
        embedded: None,
    },
    Entry {
        name: "phonemizer",
        summary: "an encoder-decoder with attention from a word's letters to its phonemes, 1.2 million parameters, trained by `introspect-train phonemes` on CMUdict",
        build: phonemizer::build,
        description: phonemizer_description,
        weights_file: None,
        fetch: None,
        embedded: Some(include_bytes!("../../weights/phonemizer.safetensors")),
    },
    Entry {
        name: "digits-cnn",
        summary: "three convolutions and two dense layers for handwritten digits of 8 by 8 pixels from 0 to 1, trained by `introspect-train digits`",
        build: digits_cnn::build,
        description: digits_cnn_description,
        weights_file: None,
        fetch: None,
        embedded: None,
    },
    Entry {
        name: "denoising-autoencoder",
        summary: "a denoiser for pictures of any size, pixels from 0 to 1, the learned prior of feature visualisation, trained by `introspect-train prior`",
        build: denoising_autoencoder::build,
        description: denoising_autoencoder_description,
        weights_file: None,
        fetch: None,
        embedded: Some(include_bytes!("../../weights/denoising-autoencoder.safetensors")),
    },
];

/// All networks that are known by name.
pub fn entries() -> &'static [Entry] {
    ENTRIES
}

/// The network of a name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// Builds a network and sees to it that all weights were used.
pub fn build(entry: &Entry, mut weights: Weights) -> Result<Graph, LoadError> {
    let graph = (entry.build)(&mut weights)?;
    weights.finish()?;
    Ok(graph)
}

const IMAGENET_LABELS: &str = "labels/imagenet-1000.txt";

fn efficientnet_lite0_description() -> ModelDescription {
    let front_end = ImageFrontEnd {
        short_side: 256,
        interpolation: Resampling::Bicubic,
        crop: 224,
        mean: [127.0; 3],
        std: [128.0; 3],
    };
    imagenet("efficientnet-lite0", front_end)
}

fn digits_cnn_description() -> ModelDescription {
    ModelDescription {
        architecture: Some("digits-cnn".to_owned()),
        value_range: Some([0.0, 1.0]),
        labels: Some(Labels::List((0..10).map(|digit| digit.to_string()).collect())),
        ..ModelDescription::default()
    }
}

fn phonemizer_description() -> ModelDescription {
    let phonemes = crate::speech::phonemizer::PHONEMES.iter().map(|phoneme| (*phoneme).to_owned());
    ModelDescription {
        architecture: Some("phonemizer".to_owned()),
        labels: Some(Labels::List(phonemes.chain(["end".to_owned()]).collect())),
        front_end: Some(FrontEnd::Spelling),
        output_axes: Some(vec!["time".to_owned(), "class".to_owned()]),
        value_range: Some([0.0, 1.0]),
        ..ModelDescription::default()
    }
}

fn denoising_autoencoder_description() -> ModelDescription {
    ModelDescription {
        architecture: Some("denoising-autoencoder".to_owned()),
        value_range: Some([0.0, 1.0]),
        ..ModelDescription::default()
    }
}

fn torchvision(architecture: &str) -> ModelDescription {
    imagenet(architecture, ImageFrontEnd::torchvision())
}

/// Networks that write English down: so many mel bands in, 29 classes out.
fn letters(architecture: &str, n_bands: usize) -> ModelDescription {
    let (labels, ctc) = english_letters();
    ModelDescription {
        architecture: Some(architecture.to_owned()),
        front_end: Some(FrontEnd::Audio(AudioFrontEnd::for_speech(n_bands))),
        labels: Some(Labels::List(labels)),
        ctc: Some(ctc),
        ..ModelDescription::default()
    }
}

/// The classes of a recogniser of English: a to z, the apostrophe, the space between words, and CTC's blank.
pub fn english_letters() -> (Vec<String>, CtcSettings) {
    let letters = ('a'..='z').chain(['\'']).map(String::from);
    let labels: Vec<String> = letters.chain(["space".to_owned(), "blank".to_owned()]).collect();
    let ctc = CtcSettings { blank: labels.len() - 1, word_boundary: Some(labels.len() - 2) };
    (labels, ctc)
}

fn imagenet(architecture: &str, front_end: ImageFrontEnd) -> ModelDescription {
    let (low, high) = front_end.value_range();
    ModelDescription {
        architecture: Some(architecture.to_owned()),
        value_range: Some([low, high]),
        front_end: Some(FrontEnd::Image(front_end)),
        labels: Some(Labels::File(IMAGENET_LABELS.to_owned())),
        ..ModelDescription::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Uninterrupted;
    use crate::passes::merge_batch_norms;
    use crate::receptive_field::receptive_field;
    use crate::trace::Trace;
    use crate::value::{Layout, Value};

    fn random(name: &str) -> Graph {
        build(find(name).unwrap(), Weights::random(1)).unwrap()
    }

    #[track_caller]
    fn has(graph: &Graph, n_parameters: usize, layers: &[(&str, &[usize])]) {
        assert_eq!(graph.n_parameters(), n_parameters);
        let shapes = graph.hinted_shapes().unwrap();
        for (name, shape) in layers {
            assert_eq!(&shapes[graph.layer(name).unwrap().node.0][0][1..], *shape, "{name}");
        }
    }

    #[test]
    fn efficientnet_lite0_has_its_layers() {
        let blocks: &[(&str, &[usize])] = &[
            ("conv_stem", &[32, 112, 112]),
            ("swish", &[32, 112, 112]),
            ("blocks.0", &[16, 112, 112]),
            ("blocks.1.swish_1", &[96, 56, 56]),
            ("blocks.2.add", &[24, 56, 56]),
            ("blocks.15.project_conv", &[320, 7, 7]),
            ("conv_head", &[1280, 7, 7]),
            ("fc", &[1000]),
        ];
        has(&random("efficientnet-lite0"), 4_652_008, blocks);
    }

    #[test]
    fn resnets_have_their_layers() {
        let of_18: &[(&str, &[usize])] = &[
            ("maxpool", &[64, 56, 56]),
            ("layer1.0.relu_1", &[64, 56, 56]),
            ("layer2.0.downsample.0", &[128, 28, 28]),
            ("layer4", &[512, 7, 7]),
        ];
        has(&random("resnet18"), 11_689_512, of_18);
        let of_50: &[(&str, &[usize])] =
            &[("layer1.0.relu_2", &[256, 56, 56]), ("layer3.5.add", &[1024, 14, 14]), ("flatten", &[2048])];
        has(&random("resnet50"), 25_557_032, of_50);
    }

    #[test]
    fn wav2letter_gives_a_letter_for_two_frames() {
        let graph = random("wav2letter");
        has(&graph, 24_662_529, &[("conv1", &[250, 500]), ("conv9", &[2000, 500]), ("conv11", &[29, 500])]);
        let small = random("wav2letter-small");
        has(&small, 4_297_565, &[("conv1", &[144, 500]), ("conv9", &[576, 500]), ("conv11", &[29, 500])]);
        let field = receptive_field(&graph, graph.logits().node).unwrap().unwrap()[0];
        assert_eq!((field.size, field.stride), (194, 2));
        let shapes = graph.shapes(&[vec![1, 128, 731]]).unwrap();
        assert_eq!(shapes[graph.output().node.0][0], [1, 29, 365]);
    }

    #[test]
    fn torchaudios_wav2letter_gives_one_frame_more() {
        let graph = random("wav2letter-torchaudio");
        has(&graph, 24_662_529, &[("acoustic_model.20", &[29, 501]), ("log_softmax", &[29, 501])]);
    }

    #[test]
    fn networks_that_the_project_trains_have_their_layers() {
        has(&random("digits-cnn"), 47_530, &[("relu2", &[32, 8, 8]), ("flatten", &[512]), ("fc2", &[10])]);
        let of_words: &[(&str, &[usize])] = &[("attention", &[7, 8]), ("context", &[7, 256]), ("output", &[7, 40])];
        has(&random("phonemizer"), 1_236_200, of_words);
        let graph = random("denoising-autoencoder");
        has(&graph, 59_963, &[("conv5", &[40, 96, 96]), ("add", &[3, 96, 96])]);
        assert_eq!(receptive_field(&graph, graph.output().node).unwrap().unwrap()[0].size, 21);
    }

    #[test]
    fn weights_that_come_with_the_program_are_whole() {
        let embedded: Vec<&Entry> = entries().iter().filter(|entry| entry.embedded.is_some()).collect();
        assert_eq!(
            embedded.iter().map(|entry| entry.name).collect::<Vec<_>>(),
            ["wav2letter-small", "phonemizer", "denoising-autoencoder"]
        );
        for entry in embedded {
            build(entry, entry.embedded_weights().unwrap().unwrap()).unwrap();
        }
    }

    #[test]
    fn each_description_names_the_builder_that_it_came_with() {
        for entry in entries() {
            assert_eq!((entry.description)().architecture.as_deref(), Some(entry.name));
        }
    }

    #[test]
    fn vgg16_has_its_layers() {
        // Its weights alone take half a gigabyte; shapes tell as much.
        let graph = random("vgg16");
        has(&graph, 138_357_544, &[("features.30", &[512, 7, 7]), ("classifier.6", &[1000])]);
    }

    #[test]
    fn merging_batch_norms_changes_no_output_of_a_resnet() {
        let (graph, merged) = (random("resnet18"), merge_batch_norms(&random("resnet18")).unwrap());
        let input = (0..3 * 224 * 224).map(|index| ((index * 7919) % 255) as f32 / 128.0 - 1.0).collect();
        let input = Value::from_vec(input, &[1, 3, 224, 224], Layout::Logical).unwrap();
        let output = |graph: &Graph| {
            Trace::record(graph, std::slice::from_ref(&input), &Uninterrupted)
                .unwrap()
                .value(graph.output())
                .unwrap()
                .to_f64_vec()
                .unwrap()
        };
        let (before, after) = (output(&graph), output(&merged));
        let largest = before.iter().fold(0.0f64, |largest, number| largest.max(number.abs()));
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
        assert_eq!(merged.layer("layer1.0.bn1").unwrap(), merged.layer("layer1.0.conv1").unwrap());
    }
}
