//! Attributions that vary the input.

use client_protocol::ErrorObject;
use client_protocol::variation::{
    Baseline, DeepLiftParams, IntegratedGradientsParams, MaxPoolRule, NamedBaseline, NoiseStatistic, OcclusionParams,
    Quadrature, RiseParams, SmoothGradParams,
};
use introspection::{Complete, baseline};
use models::{Outlet, Value};
use serde_json::json;

use crate::draw::Look;
use crate::errors;
use crate::held_model::HeldModel;
use crate::requests::asked::AskedInput;
use crate::requests::attribution::{of_input, spatial};
use crate::requests::explainer::{Explainer, Map, each};
use crate::requests::input::from_tensor;
use crate::to_protocol::axes_of;

/// More steps, samples or windows than this are a mistake.
const MOST_VARIATIONS: usize = 1 << 20;

pub(super) fn integrated_gradients<'a>(
    _: &HeldModel,
    params: &'a IntegratedGradientsParams,
) -> Result<Explainer<'a>, ErrorObject> {
    let IntegratedGradientsParams { question, steps, quadrature, baseline } = params;
    check_count("steps", *steps)?;
    let rule = match quadrature {
        Quadrature::GaussLegendre => introspection::Quadrature::GaussLegendre,
        Quadrature::RiemannTrapezoid => introspection::Quadrature::RiemannTrapezoid,
    };
    Ok(Explainer {
        name: "integrated gradients",
        look: Look::Signed,
        settings: vec![("steps", json!(steps)), ("quadrature", json!(quadrature)), ("baseline", shown(baseline))],
        notes: vec![],
        explain: each(move |model, asked, of| {
            let complete =
                introspection::integrated_gradients(of, &baseline_of(model, asked, of.at, baseline)?, *steps, rule);
            completed(model, asked, of, question.crop, complete)
        }),
    })
}

pub(super) fn smooth_grad<'a>(_: &HeldModel, params: &'a SmoothGradParams) -> Result<Explainer<'a>, ErrorObject> {
    let SmoothGradParams { question, samples, noise, seed, statistic } = params;
    check_count("samples", *samples)?;
    if *noise < 0.0 || !noise.is_finite() {
        return Err(ErrorObject::invalid("noise", format!("`noise` is {noise}")).expected("a number of 0 or more"));
    }
    let kept = match statistic {
        NoiseStatistic::Mean => introspection::NoiseStatistic::Mean,
        NoiseStatistic::MeanSquare => introspection::NoiseStatistic::MeanSquare,
        NoiseStatistic::Variance => introspection::NoiseStatistic::Variance,
    };
    let settings = vec![
        ("samples", json!(samples)),
        ("noise", json!(noise)),
        ("seed", json!(seed)),
        ("statistic", json!(statistic)),
    ];
    Ok(Explainer {
        name: if *statistic == NoiseStatistic::Variance { "VarGrad" } else { "SmoothGrad" },
        look: Look::Magnitude,
        settings,
        notes: vec![],
        explain: each(move |model, asked, of| {
            let map = introspection::smooth_grad(of, *samples, *noise, *seed, kept);
            let map = map.map_err(|error| errors::of_introspection(error, &model.graph))?;
            of_input(model, asked, of, question.crop, map)
        }),
    })
}

pub(super) fn deep_lift<'a>(_: &HeldModel, params: &'a DeepLiftParams) -> Result<Explainer<'a>, ErrorObject> {
    let DeepLiftParams { question, baseline, max_pool } = params;
    let rule = match max_pool {
        MaxPoolRule::Winner => introspection::MaxPoolRule::Winner,
        MaxPoolRule::CrossMax => introspection::MaxPoolRule::CrossMax,
    };
    Ok(Explainer {
        name: "DeepLIFT",
        look: Look::Signed,
        settings: vec![("baseline", shown(baseline)), ("max_pool", json!(max_pool))],
        notes: vec![],
        explain: each(move |model, asked, of| {
            let complete = introspection::deep_lift(of, &baseline_of(model, asked, of.at, baseline)?, rule);
            completed(model, asked, of, question.crop, complete)
        }),
    })
}

pub(super) fn occlusion<'a>(_: &HeldModel, params: &'a OcclusionParams) -> Result<Explainer<'a>, ErrorObject> {
    let OcclusionParams { question, window, stride, baseline } = params;
    let mut settings = vec![("baseline", shown(baseline))];
    settings.extend(window.iter().map(|window| ("window", json!(window))));
    settings.extend(stride.iter().map(|stride| ("stride", json!(stride))));
    Ok(Explainer {
        name: "occlusion",
        look: Look::Signed,
        settings,
        notes: vec![],
        explain: each(move |model, asked, of| {
            let shape = &asked.prepared_at(model, of.at).value.shape()[1..];
            let window = window.clone().unwrap_or_else(|| default_window(shape));
            let stride = stride.clone().unwrap_or_else(|| window.iter().map(|length| length.div_ceil(2)).collect());
            refuse_too_many(&window, &stride, shape)?;
            let map = introspection::occlusion(of, &window, &stride, &baseline_of(model, asked, of.at, baseline)?);
            let map = map.map_err(|error| errors::of_introspection(error, &model.graph))?;
            of_input(model, asked, of, question.crop, map)
        }),
    })
}

pub(super) fn rise<'a>(_: &HeldModel, params: &'a RiseParams) -> Result<Explainer<'a>, ErrorObject> {
    let RiseParams { question, masks, cells, keep, seed } = params;
    check_count("masks", *masks)?;
    if question.crop {
        return Err(ErrorObject::invalid("crop", "RISE masks the whole input, so that there is no part to crop to"));
    }
    let random = introspection::RandomMasks { count: *masks, cells: *cells, keep: *keep, seed: *seed };
    Ok(Explainer {
        name: "RISE",
        look: Look::Magnitude,
        settings: vec![("masks", json!(masks)), ("cells", json!(cells)), ("keep", json!(keep)), ("seed", json!(seed))],
        notes: vec![],
        explain: each(move |model, asked, of| {
            let map = introspection::rise(of, random).map_err(|error| errors::of_introspection(error, &model.graph))?;
            Ok(Map::whole(map, spatial(axes_of(model, asked.prepared_at(model, of.at), of.at))))
        }),
    })
}

/// All channels, a seventh of each other axis.
fn default_window(shape: &[usize]) -> Vec<usize> {
    let of_axis = |(axis, &length): (usize, &usize)| if axis == 0 { length } else { length.div_ceil(7) };
    shape.iter().enumerate().map(of_axis).collect()
}

fn refuse_too_many(window: &[usize], stride: &[usize], shape: &[usize]) -> Result<(), ErrorObject> {
    let along =
        |((window, stride), length): ((&usize, &usize), &usize)| length.saturating_sub(*window) / (*stride).max(1) + 1;
    let count = window.iter().zip(stride).zip(shape).map(along).fold(1usize, usize::saturating_mul);
    if count <= MOST_VARIATIONS {
        return Ok(());
    }
    let message = format!("windows {window:?} every {stride:?} are {count} evaluations of the network");
    Err(ErrorObject::invalid("stride", message).expected(format!("at most {MOST_VARIATIONS} windows")))
}

pub(super) fn check_count(field: &'static str, count: usize) -> Result<(), ErrorObject> {
    if (1..=MOST_VARIATIONS).contains(&count) {
        return Ok(());
    }
    let message = format!("`{field}` is {count}");
    Err(ErrorObject::invalid(field, message).expected(format!("a number from 1 to {MOST_VARIATIONS}")))
}

/// A baseline as the settings of an answer show it.
pub(super) fn shown(baseline: &Baseline) -> serde_json::Value {
    match baseline {
        Baseline::Tensor(tensor) => json!({"shape": tensor.shape}),
        other => json!(other),
    }
}

/// A baseline in the shape of an input.
pub(super) fn baseline_of(
    model: &HeldModel,
    asked: &AskedInput,
    at: Outlet,
    wanted: &Baseline,
) -> Result<Value, ErrorObject> {
    let of_error = |error| errors::of_introspection(error, &model.graph);
    let input = &asked.prepared_at(model, at).value;
    match wanted {
        Baseline::Number(number) if !number.is_finite() => {
            Err(ErrorObject::invalid("baseline", format!("the baseline is {number}")).expected("a finite number"))
        }
        Baseline::Number(number) => baseline::constant(input, *number).map_err(of_error),
        Baseline::Named(NamedBaseline::Blur) => baseline::blur(input).map_err(of_error),
        Baseline::Named(NamedBaseline::Mean) => baseline::mean(input).map_err(of_error),
        Baseline::Named(NamedBaseline::Silence) => baseline::silence(input).map_err(of_error),
        Baseline::Named(NamedBaseline::Black) => baseline::black(input).map_err(of_error),
        Baseline::Tensor(tensor) => {
            let given = from_tensor(tensor).map_err(|error| ErrorObject::invalid("baseline", error.message))?;
            let prepared = given.prepared_as(model, at.node).ok();
            match prepared.filter(|prepared| prepared.value.shape() == input.shape()) {
                Some(prepared) => Ok(prepared.value.clone()),
                None => {
                    let (found, expected) = (&tensor.shape, format!("the input's shape, {:?}", &input.shape()[1..]));
                    let message = format!("the baseline has shape {found:?} and not {expected}");
                    Err(ErrorObject::invalid("baseline", message).value(json!(found)).expected(expected))
                }
            }
        }
    }
}

fn completed(
    model: &HeldModel,
    asked: &AskedInput,
    question: &introspection::Question<'_>,
    crop: bool,
    complete: introspection::Result<Complete>,
) -> Result<Map, ErrorObject> {
    let Complete { maps, gaps } = complete.map_err(|error| errors::of_introspection(error, &model.graph))?;
    Ok(Map { gaps: Some(gaps), ..of_input(model, asked, question, crop, maps)? })
}
