//! Real Fourier transforms as matrices of cosines and sines.

use std::f64::consts::PI;
use std::ops::Range;

use super::vectorized::packed::columns_read;
use crate::element::Element;

/// The value of a component's wave at a frame of a block.
fn wave(component: usize, frame: usize, block: usize) -> f64 {
    let frequency = component.div_ceil(2);
    let angle = 2.0 * PI * ((frequency * frame) % block) as f64 / block as f64;
    if component > 0 && component.is_multiple_of(2) { angle.sin() } else { angle.cos() }
}

/// The cosine of a frequency; its sine follows.
pub(super) fn first_component(frequency: usize) -> usize {
    (2 * frequency).saturating_sub(1)
}

/// How much a component counts on the way back.
pub(super) fn share(component: usize, block: usize) -> f64 {
    if component == 0 || component == block - 1 { 1.0 / block as f64 } else { 2.0 / block as f64 }
}

/// Whether what comes in is an input, or a gradient that arrives at the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

impl Direction {
    /// A frame of a block as the waves count it.
    fn frame(self, frame: usize, block: usize) -> usize {
        match self {
            Direction::Forward => frame,
            Direction::Backward => block - frame,
        }
    }
}

/// The components' waves: `[component, frame]`.
pub(super) fn waves<T: Element>(
    components: Range<usize>,
    frames: impl Iterator<Item = usize> + Clone,
    block: usize,
) -> Vec<T> {
    let of_component = |component| frames.clone().map(move |frame| T::of(wave(component, frame, block)));
    components.flat_map(of_component).collect()
}

/// The transforms of one direction.
#[derive(Debug)]
pub(super) struct Transforms<T> {
    /// `[component, frame]`, and forward behind the components the cosines of frequencies with a sine, negated
    pub(super) into: Vec<T>,
    /// `[output frame, component]`
    pub(super) back: Vec<T>,
    /// `[output channel]`, and zeros that fill a register
    pub(super) bias: Vec<T>,
}

impl<T: Element> Transforms<T> {
    pub(super) fn new(direction: Direction, block: usize, n_frames: usize, mut bias: Vec<T>) -> Self {
        let half = block / 2;
        let all = (0..block).map(|frame| direction.frame(frame, block));
        let mut into = waves(0..block, all.clone(), block);
        // With which sines of the output are made; a gradient subtracts instead.
        for frequency in (1..half).filter(|_| direction == Direction::Forward) {
            let cosine = waves::<T>(first_component(frequency)..2 * frequency, all.clone(), block);
            into.extend(cosine.into_iter().map(|cosine| -cosine));
        }
        // A frame is valid where no wave reached it from around the block's end.
        let valid = match direction {
            Direction::Forward => 0..block - n_frames + 1,
            Direction::Backward => n_frames - 1..block,
        };
        let back_at = |(frame, component)| T::of(share(component, block) * wave(component, frame, block));
        let places = valid
            .map(|frame| direction.frame(frame, block))
            .flat_map(|frame| (0..block).map(move |component| (frame, component)));
        bias.resize(columns_read::<T>(bias.len()), T::zero());
        Transforms { into, back: places.map(back_at).collect(), bias }
    }

    /// Components of a spectrum, with the negated cosines.
    pub(super) fn n_components(&self, block: usize) -> usize {
        self.into.len() / block
    }
}

/// How many waves a frequency has: the first and the last have no sine.
pub(super) fn n_waves(block: usize, frequency: usize) -> usize {
    if frequency == 0 || frequency == block / 2 { 1 } else { 2 }
}
