//! Maps from what a network says of masked inputs: Score-CAM and RISE. No gradient is asked for.

use models::{Layout, Outlet, Value};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::attribution::Question;
use crate::error::{IntrospectionError, Result};
use crate::upsample::{Interpolation, upsample};

/// Score-CAM (Wang et al. 2020, equations 3 to 5): a layer's channels, each weighted by the score of the input that it
/// lets through, softmax over the channels.
///
/// # Shapes
/// - returns `[target, spatial axes of the layer…]`
pub fn score_cam(question: &Question<'_>, layer: Outlet, relu: bool) -> Result<Value> {
    let input = question.varied_input("Score-CAM")?;
    let row = question.only_row("Score-CAM")?;
    let (given, activation) = (question.trace.value(input)?.row(row)?, question.trace.value(layer)?.row(row)?);
    let shape = activation.shape().to_vec();
    if shape.len() < 3 || given.shape().len() != shape.len() {
        let name = &question.graph.node(layer.node).name;
        let message = format!(
            "Score-CAM needs a layer with as many spatial axes as the input, {}, but `{name}` has shape {:?}",
            given.shape().len().saturating_sub(2),
            &shape[1..]
        );
        return Err(IntrospectionError::Unfit(message));
    }
    let (n_channels, n_places) = (shape[1], shape[2..].iter().product::<usize>());
    let activations = activation.to_f64_vec()?;
    let of_channel: Vec<usize> = std::iter::once(1).chain(shape[2..].iter().copied()).collect();
    let variation = |nth: usize| {
        let channel = activations[nth * n_places..][..n_places].to_vec();
        let channel = Value::from_vec(channel, &of_channel, Layout::Logical)?;
        let mask = upsample(&channel, &given.shape()[2..], Interpolation::Bilinear)?.to_f64_vec()?;
        masked(&given, &normalized(&mask))
    };
    let n_targets = question.targets.len();
    let mut scores = vec![0.0; n_targets * n_channels];
    question.each_batch(n_channels, &variation, &mut |nths, trace| {
        for (of_row, nth) in question.scores_on(trace)?.chunks_exact(n_targets).zip(nths) {
            of_row.iter().enumerate().for_each(|(target, score)| scores[target * n_channels + nth] = *score);
        }
        Ok(())
    })?;
    let mut maps = vec![0.0; n_targets * n_places];
    for (map, scores) in maps.chunks_exact_mut(n_places).zip(scores.chunks_exact(n_channels)) {
        for (weight, channel) in softmax(scores).into_iter().zip(activations.chunks_exact(n_places)) {
            map.iter_mut().zip(channel).for_each(|(place, activation)| *place += weight * activation);
        }
        if relu {
            map.iter_mut().for_each(|place| *place = place.max(0.0));
        }
    }
    let shape: Vec<usize> = std::iter::once(n_targets).chain(shape[2..].iter().copied()).collect();
    Ok(Value::from_vec(maps, &shape, Layout::Logical)?.to_dtype(activation.dtype())?)
}

/// Between 0 and 1; zeros where all is the same.
fn normalized(mask: &[f64]) -> Vec<f64> {
    let low = mask.iter().copied().fold(f64::INFINITY, f64::min);
    let high = mask.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    mask.iter().map(|number| if high > low { (number - low) / (high - low) } else { 0.0 }).collect()
}

/// Every channel of an input times one mask of its places.
fn masked(given: &Value, mask: &[f64]) -> Result<Value> {
    let numbers: Vec<f64> = given.to_f64_vec()?.iter().zip(mask.iter().cycle()).map(|(x, mask)| x * mask).collect();
    Ok(Value::from_vec(numbers, given.shape(), Layout::Logical)?.to_dtype(given.dtype())?)
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// RISE's random masks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomMasks {
    /// How many.
    pub count: usize,
    /// Cells of the coarse grid along each axis.
    pub cells: usize,
    /// How likely a cell lets the input through.
    pub keep: f64,
    /// Makes them repeatable.
    pub seed: u64,
}

/// RISE (Petsiuk et al. 2018, equation 6): the mean of random masks, each weighted by the score of the input that it lets
/// through.
///
/// # Shapes
/// - returns `[target, spatial axes of the input…]`
pub fn rise(question: &Question<'_>, masks: RandomMasks) -> Result<Value> {
    let input = question.varied_input("RISE")?;
    let given = question.trace.value(input)?.row(question.only_row("RISE")?)?;
    let places = given.shape().get(2..).unwrap_or_default().to_vec();
    if !(1..=2).contains(&places.len()) {
        let message = format!("RISE masks the places of an input, but this one has shape {:?}", &given.shape()[1..]);
        return Err(IntrospectionError::Unfit(message));
    }
    let is_share = masks.keep > 0.0 && masks.keep < 1.0;
    if masks.count == 0 || masks.cells == 0 || !is_share {
        let message = format!(
            "RISE needs a mask and a cell or more, and a share kept between 0 and 1, not {}, {} and {}",
            masks.count, masks.cells, masks.keep
        );
        return Err(IntrospectionError::Unfit(message));
    }
    let variation = |nth: usize| masked(&given, &random_mask(&places, &masks, nth)?);
    let n_targets = question.targets.len();
    let n_places: usize = places.iter().product();
    let mut maps = vec![0.0; n_targets * n_places];
    question.each_batch(masks.count, &variation, &mut |nths, trace| {
        for (scores, nth) in question.scores_on(trace)?.chunks_exact(n_targets).zip(nths) {
            let mask = random_mask(&places, &masks, nth)?;
            for (map, score) in maps.chunks_exact_mut(n_places).zip(scores) {
                map.iter_mut().zip(&mask).for_each(|(place, mask)| *place += score * mask);
            }
        }
        Ok(())
    })?;
    let expected = masks.count as f64 * masks.keep;
    maps.iter_mut().for_each(|place| *place /= expected);
    let shape: Vec<usize> = std::iter::once(n_targets).chain(places).collect();
    Ok(Value::from_vec(maps, &shape, Layout::Logical)?.to_dtype(given.dtype())?)
}

/// A coarse random grid, brought to more places than there are and cut at a random offset (section 3.3).
fn random_mask(places: &[usize], masks: &RandomMasks, nth: usize) -> Result<Vec<f64>> {
    let mut random = ChaCha8Rng::seed_from_u64(masks.seed);
    random.set_stream(nth as u64);
    let grid: Vec<usize> = std::iter::once(1).chain(places.iter().map(|_| masks.cells)).collect();
    let cells: Vec<f64> =
        (0..grid.iter().product()).map(|_| if random.random::<f64>() < masks.keep { 1.0 } else { 0.0 }).collect();
    let cell: Vec<usize> = places.iter().map(|length| length.div_ceil(masks.cells)).collect();
    let larger: Vec<usize> = cell.iter().map(|cell| cell * (masks.cells + 1)).collect();
    let coarse = Value::from_vec(cells, &grid, Layout::Logical)?;
    let fine = upsample(&coarse, &larger, Interpolation::Bilinear)?.to_f64_vec()?;
    let offsets: Vec<usize> = cell.iter().map(|&cell| random.random_range(0..cell)).collect();
    let read = |index: usize| {
        let position = models::value::unravel(index, places);
        let moved = position.iter().zip(&offsets).zip(&larger);
        fine[moved.fold(0, |flat, ((place, offset), length)| flat * length + place + offset)]
    };
    Ok((0..places.iter().product()).map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_repeat_and_keep_their_share() {
        let masks = RandomMasks { count: 200, cells: 5, keep: 0.4, seed: 3 };
        let mean = |nth: usize| {
            let mask = random_mask(&[23, 17], &masks, nth).unwrap();
            assert!(mask.iter().all(|number| (0.0..=1.0).contains(number)));
            mask.iter().sum::<f64>() / mask.len() as f64
        };
        let share = (0..200).map(mean).sum::<f64>() / 200.0;
        assert!((share - 0.4).abs() < 0.05, "{share}");
        assert_eq!(random_mask(&[23, 17], &masks, 7).unwrap(), random_mask(&[23, 17], &masks, 7).unwrap());
    }
}
