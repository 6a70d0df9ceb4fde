//! The table of methods: one entry a method, from which all else is made.

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::common::NoParams;
use crate::{
    activation, attribution, corpus, filter, input, job, metric, model, relevance, sanity, server, transcript,
    variation, visualization,
};

/// A method as a type: what it takes and what it answers.
pub trait Method {
    /// Its name on the wire.
    const NAME: &'static str;
    /// Its parameters, an object.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// Its result.
    type Result: Serialize + DeserializeOwned + JsonSchema;
}

/// A method as data, for help, completion, checks and documents.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does, the first line being a summary.
    pub documentation: &'static str,
    /// The parameter that a bare first word of a query goes to.
    pub main_parameter: Option<&'static str>,
    /// The JSON schema of its parameters.
    pub params_schema: fn() -> Value,
    /// The JSON schema of its result.
    pub result_schema: fn() -> Value,
    /// Parameters as JSON, for instance.
    pub example: &'static str,
}

impl MethodSpec {
    /// The documentation's first line.
    pub fn summary(&self) -> &'static str {
        self.documentation.trim_start().lines().next().unwrap_or_default()
    }

    /// The last part of the name.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $method:ident = $name:literal ($params:ty) -> $result:ty, main $main:expr, example $example:literal;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Copy, Debug)]
            pub enum $method {}

            impl Method for $method {
                const NAME: &'static str = $name;
                type Params = $params;
                type Result = $result;
            }
        )+

        const METHODS: &[MethodSpec] = &[
            $(MethodSpec {
                name: $name,
                documentation: concat!($($doc, "\n"),+),
                main_parameter: $main,
                params_schema: schema_of::<$params>,
                result_schema: schema_of::<$result>,
                example: $example,
            }),+
        ];

        #[cfg(test)]
        fn examples_parse() {
            $(serde_json::from_str::<$params>($example).expect($name);)+
        }
    };
}

methods! {
    /// Says what the daemon is: version, build, devices, limits, folders.
    ServerInfo = "server.info"(NoParams) -> server::Info, main None, example "{}";
    /// Says how the daemon fares: caches, forward passes, queue, memory.
    ServerStats = "server.stats"(NoParams) -> server::Stats, main None, example "{}";
    /// Ends the daemon once running queries are answered.
    ServerShutdown = "server.shutdown"(NoParams) -> server::ShuttingDown, main None, example "{}";
    /// Loads a network: by a name of the zoo, or from a file.
    ///
    /// Loading the same bytes with the same description again costs next to nothing and gives the same id.
    ModelLoad = "model.load"(model::LoadParams) -> model::Loaded, main Some("source"),
        example r#"{"source": "efficientnet-lite0"}"#;
    /// Lists the networks that are held and those that can be loaded by name.
    ModelList = "model.list"(NoParams) -> model::Models, main None, example "{}";
    /// Describes a network: each layer with its operator, shape, parameters, receptive field and stride.
    ModelDescribe = "model.describe"(model::ModelParams) -> model::Described, main Some("model"),
        example r#"{"model": "efficientnet-lite0"}"#;
    /// Lets a network go, with all that was computed of it.
    ModelUnload = "model.unload"(model::ModelParams) -> model::Unloaded, main Some("model"),
        example r#"{"model": "efficientnet-lite0"}"#;
    /// Computes the network's raw output.
    ModelForward = "model.forward"(model::ForwardParams) -> model::ForwardResult, main Some("input"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png"}"#;
    /// Says what the network takes an input for: its best classes, or for speech a transcript.
    ModelPredict = "model.predict"(model::PredictParams) -> model::Prediction, main Some("input"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "top": 3}"#;
    /// Loads an input: a photo, a sound, an array, or the numbers themselves.
    InputLoad = "input.load"(input::LoadParams) -> input::Loaded, main Some("path"),
        example r#"{"path": "/photos/coffee.png"}"#;
    /// Lists the inputs that are held.
    InputList = "input.list"(NoParams) -> input::Inputs, main None, example "{}";
    /// Lets an input go.
    InputDrop = "input.drop"(input::InputParams) -> input::Dropped, main Some("input"),
        example r#"{"input": "5f0c1d2e3a4b5968"}"#;
    /// Returns what a layer computes of an input.
    ActivationGet = "activation.get"(activation::GetParams) -> activation::GetResult, main Some("layer"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "layer": "blocks.15", "reduce": "mean"}"#;
    /// The gradient of a score with respect to the input: which pixels change it most.
    ///
    /// Simonyan et al. 2014, section 3. Signed unless `post` says otherwise.
    AttributionSaliency = "attribution.saliency"(attribution::SaliencyParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "target": {"class": "espresso"}, "post": "max_channel"}"#;
    /// The input times the gradient there.
    ///
    /// Shrikumar et al. 2016. Sums to the score where the network is piecewise linear and has no biases.
    AttributionInputXGradient = "attribution.input_x_gradient"(attribution::PlainParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "target": 967}"#;
    /// The gradient, but at every rectifier only what is positive and came from an active unit passes.
    ///
    /// Springenberg et al. 2015.
    AttributionGuidedBackprop = "attribution.guided_backprop"(attribution::PlainParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png"}"#;
    /// The gradient, but at every rectifier only what is positive passes.
    ///
    /// Zeiler and Fergus 2014.
    AttributionDeconvnet = "attribution.deconvnet"(attribution::PlainParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png"}"#;
    /// The places of a layer that speak for a target: channels weighted by the mean of their gradient.
    ///
    /// Selvaraju et al. 2017, equations 1 and 2.
    AttributionGradCam = "attribution.grad_cam"(attribution::GradCamParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "layer": "blocks.15", "target": "espresso"}"#;
    /// The places of a layer that speak for a target, each weighted by its own gradient.
    ///
    /// Jiang et al. 2021; finer than Grad-CAM at early layers.
    AttributionLayerCam = "attribution.layer_cam"(attribution::GradCamParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "layer": "blocks.4"}"#;
    /// The places of a layer that speak for a target: channels weighted by the score of the input that each lets through.
    ///
    /// Wang et al. 2020. One forward pass a channel.
    AttributionScoreCam = "attribution.score_cam"(attribution::GradCamParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "layer": "blocks.15"}"#;
    /// Guided backpropagation times the Grad-CAM of a layer.
    ///
    /// Selvaraju et al. 2017, section 3.2.
    AttributionGuidedGradCam = "attribution.guided_grad_cam"(attribution::GuidedGradCamParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "interpolation": "nearest"}"#;
    /// Shares a score out layer by layer: which inputs contributed how much.
    ///
    /// Layer-wise relevance propagation, Bach et al. 2015; composites as zennit names them.
    AttributionLrp = "attribution.lrp"(relevance::LrpParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "composite": "epsilon_plus", "rules": {"blocks.0.*": {"rule": "gamma", "gamma": 0.1}}}"#;
    /// Shares a score of a ReLU network out layer by layer, by expansions at roots in each layer's domain.
    ///
    /// Montavon et al. 2017.
    AttributionDeepTaylor = "attribution.deep_taylor"(relevance::DeepTaylorParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "vgg16", "input": "/photos/coffee.png", "input_domain": "box"}"#;
    /// The mean gradient on the way from a baseline to the input, times their difference.
    ///
    /// Sundararajan et al. 2017. Sums to the score's change, but for `completeness_gap`.
    AttributionIntegratedGradients = "attribution.integrated_gradients"(variation::IntegratedGradientsParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "steps": 32, "baseline": "blur"}"#;
    /// The mean gradient at noisy copies of the input, or how much it varies.
    ///
    /// Smilkov et al. 2017; Adebayo et al. 2018 (VarGrad).
    AttributionSmoothGrad = "attribution.smooth_grad"(variation::SmoothGradParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "samples": 25, "noise": 0.15}"#;
    /// How much of the score's difference to a baseline each number of the input brought (rescale rule).
    ///
    /// Shrikumar et al. 2017, section 3.5.1.
    AttributionDeepLift = "attribution.deep_lift"(variation::DeepLiftParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "baseline": 0.0}"#;
    /// How much the score falls where a window of the input is covered.
    ///
    /// Zeiler and Fergus 2014, section 4.2.
    AttributionOcclusion = "attribution.occlusion"(variation::OcclusionParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "window": [3, 32, 32], "stride": [3, 16, 16]}"#;
    /// The mean of random masks, each weighted by the score of the input that it lets through.
    ///
    /// Petsiuk et al. 2018. One forward pass a mask.
    AttributionRise = "attribution.rise"(variation::RiseParams) -> attribution::Attribution, main Some("target"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "masks": 500}"#;
    /// The value of an objective and its gradient at an input: one step of maximising it.
    VisualizationGradient = "visualization.gradient"(visualization::GradientParams) -> visualization::GradientResult, main None,
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "objective": {"kind": "channel", "layer": "blocks.7", "channel": 12}}"#;
    /// Makes an input that makes an objective large, from noise, step by step along the gradient.
    ///
    /// Olah et al. 2017. Pictures are spectra with independent colours, moved and turned at random at each step, unless
    /// `parameterization` and `transforms` say otherwise. A learned `prior` keeps pictures likely (Nguyen et al. 2017). What
    /// was cancelled or has ended goes on with `continue_from`.
    VisualizationMaximize = "visualization.maximize"(visualization::MaximizeParams) -> visualization::Maximized, main None,
        example r#"{"model": "efficientnet-lite0", "objective": {"kind": "channel", "layer": "blocks.7", "channel": 12}, "steps": 256, "seed": 1}"#;
    /// Shows the learned weights of a layer, a picture for each filter.
    ///
    /// A filter that reads many channels is a mosaic of its kernels, channel by channel.
    FilterPatterns = "filter.patterns"(filter::PatternsParams) -> filter::Patterns, main Some("layer"),
        example r#"{"model": "efficientnet-lite0", "layer": "conv_stem"}"#;
    /// How alike an attribution's maps stay while the network's weights are randomised, layer by layer.
    ///
    /// Adebayo et al. 2018, section 3.1. A map that shows what the network has learned must change. Layers are drawn anew
    /// by their own initialisers; the class explained stays that of the network as it is, unless `explain` says otherwise.
    SanityRandomize = "sanity.randomize"(sanity::RandomizeParams) -> sanity::Randomized, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": ["/photos/coffee.png", "/photos/chelsea.png"], "method": "grad_cam", "layer": "blocks.15", "mode": "cascading"}"#;
    /// How alike an attribution's maps of two networks are, one trained on true labels and one on permuted ones.
    ///
    /// Adebayo et al. 2018, section 3.2. A map that explains what was learned must differ.
    SanityDataRandomization = "sanity.data_randomization"(sanity::DataRandomizationParams) -> sanity::DataRandomized, main Some("method"),
        example r#"{"model": "digits", "permuted": "digits-permuted", "input": ["/digits/0.npy"], "method": "saliency"}"#;
    /// How fast a score falls while the places that a map calls the most relevant are taken away.
    ///
    /// Bach et al. 2015; Samek et al. 2017.
    MetricPixelFlipping = "metric.pixel_flipping"(metric::PixelFlippingParams) -> metric::PixelFlipping, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "method": "grad_cam", "features_per_step": 500}"#;
    /// How far a map moves when its input moves a little.
    ///
    /// Yeh et al. 2019.
    MetricMaxSensitivity = "metric.max_sensitivity"(metric::MaxSensitivityParams) -> metric::MaxSensitivity, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "method": "saliency", "draws": 20}"#;
    /// The model parameter randomisation test: how alike maps stay while layers are randomised, one by one.
    ///
    /// Adebayo et al. 2018, with the defaults of Quantus; smooth and efficient forms: Hedström et al. 2024.
    MetricMprt = "metric.mprt"(metric::MprtParams) -> metric::Mprt, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "method": "saliency", "variant": "efficient"}"#;
    /// How alike the map of a class is to that of another, drawn at random.
    ///
    /// Sixt et al. 2020.
    MetricRandomLogit = "metric.random_logit"(metric::RandomLogitParams) -> metric::RandomLogit, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "method": "guided_backprop", "draws": 5}"#;
    /// What a map sums to, beside the score that it shares out.
    ///
    /// Sundararajan et al. 2017, proposition 1.
    MetricCompleteness = "metric.completeness"(metric::CompletenessParams) -> metric::CompletenessResult, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "method": "integrated_gradients", "steps": 32}"#;
    /// How much of a map there is: its Gini index and its entropy.
    ///
    /// Chalasani et al. 2020; Bhatt et al. 2020.
    MetricSparseness = "metric.sparseness"(metric::MapParams) -> metric::SparsenessResult, main Some("method"),
        example r#"{"model": "efficientnet-lite0", "input": "/photos/coffee.png", "method": "lrp", "composite": "epsilon_plus"}"#;
    /// Finds where the letters of a known transcript lie in a sound: the most probable path that writes it.
    ///
    /// Connectionist temporal classification, Graves et al. 2006; Viterbi.
    TranscriptAlign = "transcript.align"(transcript::AlignParams) -> transcript::Aligned, main Some("transcript"),
        example r#"{"model": "wav2letter", "input": "/speech/hello.flac", "transcript": "hello world"}"#;
    /// Loads a corpus: a folder as LibriSpeech has it, a manifest, or folders named by class.
    ///
    /// Every file's header is read; what is damaged is named and left out.
    CorpusLoad = "corpus.load"(corpus::CorpusLoadParams) -> corpus::LoadedCorpus, main Some("path"),
        example r#"{"path": "/speech/dev-clean", "name": "dev"}"#;
    /// Lists the corpora that are held.
    CorpusList = "corpus.list"(NoParams) -> corpus::Corpora, main None, example "{}";
    /// Describes a corpus: its utterances or images, hours, groups, what is damaged.
    CorpusDescribe = "corpus.describe"(corpus::CorpusDescribeParams) -> corpus::DescribedCorpus, main Some("corpus"),
        example r#"{"corpus": "dev", "group_by": "speaker", "items": 3}"#;
    /// Lays the transcripts of a corpus over its sounds: where each letter is spoken, and which phonemes it stands for.
    ///
    /// CTC's most probable paths (Graves et al. 2006); letters and phonemes by Needleman and Wunsch 1970, with scores
    /// estimated from the dictionary. Where the corpus knows phone times, how well letters agree with them.
    CorpusAnnotate = "corpus.annotate"(corpus::AnnotateParams) -> corpus::Annotated, main Some("corpus"),
        example r#"{"model": "wav2letter-small", "corpus": "dev", "items": 3}"#;
    /// Lists jobs.
    JobList = "job.list"(NoParams) -> job::Jobs, main None, example "{}";
    /// Says where a job stands: how far it is while it runs, its result once it is done.
    JobGet = "job.get"(job::GetParams) -> job::Job, main Some("job"), example r#"{"job": "j1"}"#;
    /// Tells how far a job is, and at last that it has ended, in notifications `job.progress`.
    ///
    /// Over a WebSocket alone. A notification's `params` are `{"subscription": what this answered, "result": the job as job.get
    /// shows it}`, at most twenty a second. The result itself is had from `job.get`.
    JobSubscribe = "job.subscribe"(job::SubscribeParams) -> String, main Some("job"), example r#"{"job": "j1"}"#;
    /// Ends the notifications of a subscription.
    JobUnsubscribe = "job.unsubscribe"(job::UnsubscribeParams) -> bool, main Some("subscription"), example r#"{"subscription": "8hJ2dPq0"}"#;
    /// Cancels a job.
    JobCancel = "job.cancel"(job::JobParams) -> job::Cancelled, main Some("job"), example r#"{"job": "j1"}"#;
    /// Cancels a running request of the same connection, by its `id`.
    Cancel = "cancel"(job::CancelParams) -> job::Cancelled, main Some("id"), example r#"{"id": 7}"#;
    /// Returns the OpenRPC document of everything served.
    RpcDiscover = "rpc.discover"(NoParams) -> Value, main None, example "{}";
}

/// Every method, in the order of the reference page.
pub fn methods() -> &'static [MethodSpec] {
    METHODS
}

/// The method of a full name.
pub fn find_method(name: &str) -> Option<&'static MethodSpec> {
    METHODS.iter().find(|method| method.name == name)
}

/// The method that a full name means, or the last part of one where only one method has it.
///
/// The error holds the candidates: all methods with that last part, or none where there is no such name.
pub fn resolve_method(name: &str) -> Result<&'static MethodSpec, Vec<&'static str>> {
    if let Some(method) = find_method(name) {
        return Ok(method);
    }
    let candidates: Vec<&MethodSpec> = METHODS.iter().filter(|method| method.short_name() == name).collect();
    match candidates[..] {
        [only] => Ok(only),
        _ => Err(candidates.iter().map(|method| method.name).collect()),
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_parses_and_passes_the_checks() {
        examples_parse();
        for method in methods() {
            let params: serde_json::Map<String, Value> = serde_json::from_str(method.example).unwrap();
            assert_eq!(crate::check_params(method, &params), Ok(()), "{}", method.name);
        }
    }

    #[test]
    fn a_short_name_means_the_only_method_that_has_it() {
        assert_eq!(resolve_method("grad_cam").unwrap().name, "attribution.grad_cam");
        assert_eq!(resolve_method("load").unwrap_err(), ["model.load", "input.load", "corpus.load"]);
        assert_eq!(resolve_method("nonsense").unwrap_err(), [""; 0]);
    }

    #[test]
    fn main_parameters_are_there() {
        for method in methods() {
            let schema = (method.params_schema)();
            if let Some(main) = method.main_parameter {
                assert!(schema["properties"].get(main).is_some(), "{} has no {main}", method.name);
            }
        }
    }
}
