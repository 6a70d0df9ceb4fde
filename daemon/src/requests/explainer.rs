//! An attribution method with its parameters: how it makes a map of one input's question. `attribution.*` answers with
//! one (`map_answer.rs`); `sanity.*` and `metric.*` ask it again of changed networks and inputs. [`ATTRIBUTIONS`] is the
//! one place that knows all of them by name.

use client_protocol::attribution::{GradCamParams, GuidedGradCamParams, PlainParams, Question, SaliencyParams};
use client_protocol::method_table as methods;
use client_protocol::relevance::{DeepTaylorParams, LrpParams};
use client_protocol::variation::{
    DeepLiftParams, IntegratedGradientsParams, OcclusionParams, RiseParams, SmoothGradParams,
};
use client_protocol::{Axis, ErrorKind, ErrorObject, Method};
use models::{NodeIdx, Outlet, PartOf, Value, Windows};

use super::{Handler, Lane, attribution, map_answer, parse, relevance, variation, written};
use crate::draw::Look;
use crate::held_model::HeldModel;
use crate::requests::asked::AskedInput;

/// A map of one input, for all targets, with its axes without the target's.
pub(super) struct Map {
    pub(super) value: Value,
    pub(super) axes: Vec<Axis>,
    /// Where it was cut, if it was.
    pub(super) windows: Option<Windows>,
    /// For each layer that relevance reached the sum for each target.
    pub(super) sums: Vec<(NodeIdx, Vec<f64>)>,
    /// For each target what the map's sum misses, where completeness is promised.
    pub(super) gaps: Option<Vec<f64>>,
}

impl Map {
    pub(super) fn whole(value: Value, axes: Vec<Axis>) -> Map {
        Map { value, axes, windows: None, sums: vec![], gaps: None }
    }

    pub(super) fn cut(value: Value, axes: Vec<Axis>, windows: Windows) -> Map {
        Map { windows: Some(windows), ..Map::whole(value, axes) }
    }
}

/// How a method makes maps of one input's question, one for each of some layers, the first of which is where the question
/// reads.
pub(super) type Explain<'a> =
    Box<dyn Fn(&HeldModel, &AskedInput, &introspection::Question<'_>, &[Outlet]) -> Result<Vec<Map>, ErrorObject> + 'a>;

/// A method that is asked anew for each layer where maps are read.
pub(super) fn each<'a>(
    explain: impl Fn(&HeldModel, &AskedInput, &introspection::Question<'_>) -> Result<Map, ErrorObject> + 'a,
) -> Explain<'a> {
    Box::new(move |model, asked, question, layers| {
        let map = |(nth, &at): (usize, &Outlet)| {
            let interrupt = PartOf { whole: question.interrupt, part: nth, n_parts: layers.len() };
            explain(model, asked, &introspection::Question { at, interrupt: &interrupt, ..*question })
        };
        layers.iter().enumerate().map(map).collect()
    })
}

/// A method whose parameters were understood for one model.
pub(super) struct Explainer<'a> {
    /// The name in titles.
    pub(super) name: &'static str,
    /// How its picture is drawn.
    pub(super) look: Look,
    /// Its own settings, with all defaults filled in.
    pub(super) settings: Vec<(&'static str, serde_json::Value)>,
    /// What one should know about every answer of it.
    pub(super) notes: Vec<String>,
    pub(super) explain: Explain<'a>,
}

impl Explainer<'_> {
    /// The map that is read where the question says.
    pub(super) fn map(
        &self,
        model: &HeldModel,
        asked: &AskedInput,
        question: &introspection::Question<'_>,
    ) -> Result<Map, ErrorObject> {
        Ok((self.explain)(model, asked, question, &[question.at])?.swap_remove(0))
    }
}

/// An attribution's request, parsed.
pub(super) trait AskedAttribution {
    /// What every attribution is asked with.
    fn question(&self) -> &Question;

    /// The method, for the question's model or one of the same layers.
    fn explainer(&self, model: &HeldModel) -> Result<Explainer<'_>, ErrorObject>;
}

/// Parameters that hold a question.
trait Asks {
    fn question(&self) -> &Question;
}

macro_rules! asks {
    ($($params:ty),+) => {
        $(impl Asks for $params {
            fn question(&self) -> &Question {
                &self.question
            }
        })+
    };
}

asks!(
    PlainParams,
    SaliencyParams,
    GradCamParams,
    GuidedGradCamParams,
    LrpParams,
    DeepTaylorParams,
    IntegratedGradientsParams,
    SmoothGradParams,
    DeepLiftParams,
    OcclusionParams,
    RiseParams
);

/// A request with the function that understands its parameters.
struct Asked<P> {
    params: P,
    understand: for<'a> fn(&HeldModel, &'a P) -> Result<Explainer<'a>, ErrorObject>,
}

impl<P: Asks> AskedAttribution for Asked<P> {
    fn question(&self) -> &Question {
        self.params.question()
    }

    fn explainer(&self, model: &HeldModel) -> Result<Explainer<'_>, ErrorObject> {
        (self.understand)(model, &self.params)
    }
}

/// An attribution's request, understood by the method of that name.
pub(super) fn understood(name: &str, params: Params) -> Result<Box<dyn AskedAttribution>, ErrorObject> {
    let method = ATTRIBUTIONS.iter().find(|method| method.handler.name == name);
    let method =
        method.ok_or_else(|| ErrorObject::new(ErrorKind::MethodNotFound, format!("no attribution `{name}`")))?;
    (method.parse)(params)
}

type Params = serde_json::Map<String, serde_json::Value>;

/// An attribution method by name.
pub(super) struct AttributionMethod {
    /// How the method itself is served.
    pub(super) handler: Handler,
    /// Understands its parameters.
    pub(super) parse: fn(Params) -> Result<Box<dyn AskedAttribution>, ErrorObject>,
}

macro_rules! attributions {
    ($($method:ident by $understand:path;)+) => {
        &[$(AttributionMethod {
            handler: Handler {
                name: methods::$method::NAME,
                lane: Lane::Compute,
                answer: |state, params, token| {
                    let params = parse::<<methods::$method as Method>::Params>(params)?;
                    let asked = Asked { params, understand: $understand };
                    let result: <methods::$method as Method>::Result = map_answer::answer(state, &asked, token)?;
                    written(&result)
                },
            },
            parse: |params| {
                let params = parse::<<methods::$method as Method>::Params>(params)?;
                Ok(Box::new(Asked { params, understand: $understand }))
            },
        }),+]
    };
}

/// All methods that make maps.
pub(super) const ATTRIBUTIONS: &[AttributionMethod] = attributions! {
    AttributionSaliency by attribution::saliency;
    AttributionInputXGradient by attribution::input_x_gradient;
    AttributionGuidedBackprop by attribution::guided_backprop;
    AttributionDeconvnet by attribution::deconvnet;
    AttributionGradCam by attribution::grad_cam;
    AttributionLayerCam by attribution::layer_cam;
    AttributionScoreCam by attribution::score_cam;
    AttributionGuidedGradCam by attribution::guided_grad_cam;
    AttributionLrp by relevance::lrp;
    AttributionDeepTaylor by relevance::deep_taylor;
    AttributionIntegratedGradients by variation::integrated_gradients;
    AttributionSmoothGrad by variation::smooth_grad;
    AttributionDeepLift by variation::deep_lift;
    AttributionOcclusion by variation::occlusion;
    AttributionRise by variation::rise;
};
