//! Attributions that vary the input: along a path, under noise, behind a window.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribution::Question;
use crate::tensor::Tensor;

/// What an input is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Baseline {
    /// The same number everywhere, as the network gets it.
    Number(f64),
    /// Made of the input.
    Named(NamedBaseline),
    /// Numbers of the input's shape.
    Tensor(Box<Tensor>),
}

impl Default for Baseline {
    fn default() -> Self {
        Baseline::Number(0.0)
    }
}

/// A baseline made of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedBaseline {
    /// The input blurred along its places, by a Gaussian a twentieth of each axis wide.
    Blur,
    /// The mean of each channel.
    Mean,
    /// The smallest number of each channel: in a spectrogram, the quietest moment of each band.
    Silence,
    /// The smallest number of the whole input: a photo's darkest.
    Black,
}

/// `attribution.integrated_gradients`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntegratedGradientsParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// How many places of the path are looked at.
    #[serde(default = "fifty")]
    pub steps: usize,
    /// Which places, and how much each counts.
    #[serde(default)]
    pub quadrature: Quadrature,
    /// Where the path begins.
    #[serde(default)]
    pub baseline: Baseline,
}

fn fifty() -> usize {
    50
}

/// Which places of a path are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quadrature {
    /// Gauss-Legendre nodes.
    #[default]
    GaussLegendre,
    /// Evenly spaced places, both ends among them.
    RiemannTrapezoid,
}

/// `attribution.smooth_grad`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SmoothGradParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// How many noisy copies.
    #[serde(default = "twenty_five")]
    pub samples: usize,
    /// Standard deviation of the noise, in parts of the input's range.
    #[serde(default = "a_seventh")]
    pub noise: f64,
    /// Of the noise.
    #[serde(default)]
    pub seed: u64,
    /// What is kept of the gradients.
    #[serde(default)]
    pub statistic: NoiseStatistic,
}

fn twenty_five() -> usize {
    25
}

fn a_seventh() -> f64 {
    0.15
}

/// What is kept of gradients under noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseStatistic {
    /// Their mean (SmoothGrad).
    #[default]
    Mean,
    /// The mean of their squares.
    MeanSquare,
    /// Their variance (VarGrad).
    Variance,
}

/// `attribution.occlusion`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OcclusionParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// The window's length along each axis of the input (default: all channels, a seventh of each other axis).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Vec<usize>>,
    /// From one window to the next along each axis (default: half a window).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Vec<usize>>,
    /// What windows are covered with.
    #[serde(default)]
    pub baseline: Baseline,
}

/// `attribution.deep_lift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeepLiftParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// What the input is compared with.
    #[serde(default)]
    pub baseline: Baseline,
    /// What max pools do.
    #[serde(default)]
    pub max_pool: MaxPoolRule,
}

/// What max pools do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaxPoolRule {
    /// All goes to the winner of the explained input; not quite complete.
    #[default]
    Winner,
    /// The winners of both inputs share the difference; complete.
    CrossMax,
}

/// `attribution.rise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RiseParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// How many random masks.
    #[serde(default = "a_thousand")]
    pub masks: usize,
    /// Cells of a mask along each axis.
    #[serde(default = "seven")]
    pub cells: usize,
    /// How likely a cell lets the input through.
    #[serde(default = "a_half")]
    pub keep: f64,
    /// Of the masks.
    #[serde(default)]
    pub seed: u64,
}

fn a_thousand() -> usize {
    1000
}

fn seven() -> usize {
    7
}

fn a_half() -> f64 {
    0.5
}
