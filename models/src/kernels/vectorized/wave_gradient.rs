//! A frequency of a gradient to the input, with its weights as they lie for the way forward.
//!
//! `C = C_w C_g + S_w S_g`, `S = C_w S_g - S_w C_g`: each channel of the input sums over those of the output, along which
//! both sides lie in memory, and so registers go along them. A tile of blocks and channels keeps both its waves in
//! registers: what is loaded of either side serves twice for each of the other.

use super::lanes::{BYTES_OF_LINE, Lanes};
use super::packed::{Packed, Right, RightLayout, VECTORS, columns_read};
use super::run::Loop;
use crate::element::Element;

/// One frequency of some blocks.
#[derive(Debug)]
pub(crate) struct WaveGradient<'a, T> {
    /// From the input to the output: the cosine and, where the frequency has one, the sine as taps.
    pub(crate) weights: &'a Packed<T>,
    /// From the first block's cosine on: a channel of the output behind the other, then the sine's.
    pub(crate) arriving: &'a [T],
    /// How far apart blocks lie.
    pub(crate) block_stride: usize,
    pub(crate) n_blocks: usize,
}

impl<T: Element> WaveGradient<'_, T> {
    /// Makes it. Whole registers are read: numbers behind a block's last channel must be finite, and count for nothing.
    ///
    /// # Shapes
    /// - `output`: `[wave, block, channel of the input]`
    pub(crate) fn run(&self, output: &mut [T]) {
        let Right { numbers, n_taps, length, n_columns, layout, .. } = self.weights.right();
        let read = columns_read::<T>(n_columns);
        assert!(layout == RightLayout::Panels && matches!(n_taps, 1 | 2), "a frequency has one wave or two, in panels");
        assert!(numbers.len() == n_taps * length * read && output.len() == n_taps * self.n_blocks * length);
        if output.is_empty() {
            return;
        }
        let last = (self.n_blocks - 1) * self.block_stride + (n_taps - 1) * n_columns;
        assert!(last + read <= self.arriving.len(), "what arrives ends within a register");
        let output = output.as_mut_ptr();
        // SAFETY: both sides and the output are as long as was just checked.
        unsafe { T::vectorized(Blocks { gradient: self, output }) };
    }
}

/// The loop over all blocks.
struct Blocks<'a, T> {
    gradient: &'a WaveGradient<'a, T>,
    output: *mut T,
}

impl<T: Element> Loop<T> for Blocks<'_, T> {
    /// # Safety
    /// All must be as long as [`WaveGradient::run`] checks.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        // Sums, the weights of a tile's channels and what arrives at one of its blocks have to fit the registers.
        let most = if const { L::ROWS >= 12 } { 6 } else { 2 };
        let n_tiles = self.gradient.n_blocks.div_ceil(most);
        let in_tile = self.gradient.n_blocks.div_ceil(n_tiles);
        // SAFETY: the caller's word.
        unsafe {
            match (const { L::ROWS >= 12 }, in_tile) {
                (true, 6) => self.in_tiles::<L, 6, 5, 2>(),
                (true, 5) => self.in_tiles::<L, 5, 4, 2>(),
                (true, 4) => self.in_tiles::<L, 4, 3, 2>(),
                (true, 3) => self.in_tiles::<L, 3, 2, 2>(),
                (true, 2) => self.in_tiles::<L, 2, 1, 5>(),
                (true, _) => self.in_tiles::<L, 1, 1, 12>(),
                (false, 2) => self.in_tiles::<L, 2, 1, 2>(),
                (false, _) => self.in_tiles::<L, 1, 1, 4>(),
            }
        }
    }
}

impl<T: Element> Blocks<'_, T> {
    /// Tiles of `BLOCKS` blocks, or of `FEWER` where they do not go up, and of `CHANNELS` channels.
    ///
    /// # Safety
    /// As [`Blocks::run`].
    #[inline(always)]
    unsafe fn in_tiles<L: Lanes<Number = T>, const BLOCKS: usize, const FEWER: usize, const CHANNELS: usize>(&self) {
        let (n_channels, n_blocks) = (self.gradient.weights.length(), self.gradient.n_blocks);
        let n_tiles = n_blocks.div_ceil(BLOCKS);
        // SAFETY: the caller's word; blocks and channels of each tile are there.
        unsafe {
            if n_channels < CHANNELS {
                for (block, channel) in
                    (0..n_blocks).flat_map(|block| (0..n_channels).map(move |channel| (block, channel)))
                {
                    self.waves::<L, 1, 1>(block, channel, false);
                }
                return;
            }
            for channel in (0..n_channels).step_by(CHANNELS) {
                // The last tile shares channels with the one before, so that it is whole.
                let channel = channel.min(n_channels - CHANNELS);
                for tile in 0..n_tiles {
                    let blocks = tile * n_blocks / n_tiles..(tile + 1) * n_blocks / n_tiles;
                    if blocks.len() == BLOCKS {
                        self.waves::<L, BLOCKS, CHANNELS>(blocks.start, channel, tile == 0);
                    } else {
                        self.waves::<L, FEWER, CHANNELS>(blocks.start, channel, tile == 0);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`Blocks::run`]; there must be so many blocks and channels from these on.
    #[inline(always)]
    unsafe fn waves<L: Lanes<Number = T>, const BLOCKS: usize, const CHANNELS: usize>(
        &self,
        block: usize,
        channel: usize,
        fetches_next: bool,
    ) {
        // SAFETY: the caller's word.
        unsafe {
            match self.gradient.weights.right().n_taps {
                1 => self.tile::<L, BLOCKS, CHANNELS, false>(block, channel, fetches_next),
                _ => self.tile::<L, BLOCKS, CHANNELS, true>(block, channel, fetches_next),
            }
        }
    }

    /// Some channels of some blocks, over all channels of the output.
    ///
    /// # Safety
    /// As [`Blocks::waves`]; `HAS_SINE` where there are two taps.
    #[inline(always)]
    unsafe fn tile<L: Lanes<Number = T>, const BLOCKS: usize, const CHANNELS: usize, const HAS_SINE: bool>(
        &self,
        block: usize,
        channel: usize,
        fetches_next: bool,
    ) {
        let WaveGradient { arriving, block_stride, n_blocks, .. } = *self.gradient;
        let Right { numbers, n_taps, length, n_columns, .. } = self.gradient.weights.right();
        let mut tile = Tile::<L, BLOCKS, CHANNELS> {
            // SAFETY: the caller's word for the instructions.
            sums: [[[unsafe { L::splat(T::zero()) }; 2]; CHANNELS]; BLOCKS],
            // SAFETY: the caller's word for the places.
            of_block: std::array::from_fn(|nth| unsafe { arriving.as_ptr().add((block + nth) * block_stride) }),
            to_sine: n_columns,
            n_channels: length,
            fetches_next,
        };
        let widest = VECTORS * L::WIDTH;
        // SAFETY: panels and what arrives for them are there by the caller's word, and so are the places of the output.
        unsafe {
            for first in (0..n_columns).step_by(widest) {
                let panel = numbers.as_ptr().add(first * n_taps * length);
                if n_columns - first > L::WIDTH {
                    tile.add_panel::<HAS_SINE, VECTORS>(panel.add(channel * widest), first);
                } else {
                    tile.add_panel::<HAS_SINE, 1>(panel.add(channel * L::WIDTH), first);
                }
            }
            let place = |nth: usize| self.output.add((block + nth / CHANNELS) * length + channel + nth % CHANNELS);
            let (n_sums, to_sine) = (BLOCKS * CHANNELS, n_blocks * length);
            for nth in (0..n_sums - n_sums % 2).step_by(2) {
                let [own, next] = [nth, nth + 1].map(|nth| tile.sums[nth / CHANNELS][nth % CHANNELS]);
                let [cosine, sine, next_cosine, next_sine] = L::sums([own[0], own[1], next[0], next[1]]);
                (*place(nth), *place(nth + 1)) = (cosine, next_cosine);
                if HAS_SINE {
                    (*place(nth).add(to_sine), *place(nth + 1).add(to_sine)) = (sine, next_sine);
                }
            }
            if n_sums % 2 == 1 {
                let [cosine, sine] = tile.sums[BLOCKS - 1][CHANNELS - 1];
                *place(n_sums - 1) = L::sum(cosine);
                if HAS_SINE {
                    *place(n_sums - 1).add(to_sine) = L::sum(sine);
                }
            }
        }
    }
}

/// Some channels of the input in some blocks.
struct Tile<L: Lanes, const BLOCKS: usize, const CHANNELS: usize> {
    /// Of the cosine and the sine.
    sums: [[[L::Vector; 2]; CHANNELS]; BLOCKS],
    /// The cosine that arrives at each block.
    of_block: [*const L::Number; BLOCKS],
    /// How far behind it the sine lies.
    to_sine: usize,
    n_channels: usize,
    /// Whether the weights of the channels that come next are fetched meanwhile.
    fetches_next: bool,
}

impl<L: Lanes, const BLOCKS: usize, const CHANNELS: usize> Tile<L, BLOCKS, CHANNELS> {
    /// Adds what comes of the channels of the output of a panel of `REGISTERS` registers.
    ///
    /// # Safety
    /// `cosine` must point to the first channel's weights, `first` be the panel's first channel of the output.
    #[inline(always)]
    unsafe fn add_panel<const HAS_SINE: bool, const REGISTERS: usize>(
        &mut self,
        cosine: *const L::Number,
        first: usize,
    ) {
        let width = REGISTERS * L::WIDTH;
        let sine = cosine.wrapping_add(self.n_channels * width);
        // SAFETY: the caller's word; what is only fetched may lie beyond.
        unsafe {
            if self.fetches_next {
                for line in (0..CHANNELS * width).step_by(BYTES_OF_LINE / size_of::<L::Number>()) {
                    L::prefetch(cosine.wrapping_add(CHANNELS * width + line));
                    if HAS_SINE {
                        L::prefetch(sine.wrapping_add(CHANNELS * width + line));
                    }
                }
            }
            for register in 0..REGISTERS {
                let at = register * L::WIDTH;
                for block in 0..BLOCKS {
                    let of_cosine = L::load(self.of_block[block].add(first + at));
                    let of_sine =
                        if HAS_SINE { L::load(self.of_block[block].add(self.to_sine + first + at)) } else { of_cosine };
                    for channel in 0..CHANNELS {
                        let weights = L::load(cosine.add(channel * width + at));
                        let [mut of_cosines, mut of_sines] = self.sums[block][channel];
                        of_cosines = L::multiply_add(weights, of_cosine, of_cosines);
                        if HAS_SINE {
                            of_sines = L::multiply_add(weights, of_sine, of_sines);
                            let weights = L::load(sine.add(channel * width + at));
                            of_cosines = L::multiply_add(weights, of_sine, of_cosines);
                            of_sines = L::subtract_product(weights, of_cosine, of_sines);
                        }
                        self.sums[block][channel] = [of_cosines, of_sines];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 19) as f32 - 9.0).collect()
    }

    fn check(n_waves: usize, n_blocks: usize, ins: usize, outs: usize) {
        let weights = numbers(n_waves * ins * outs, 1);
        let weight = |wave: usize, input: usize, out: usize| weights[(wave * ins + input) * outs + out];
        let mut packed = Packed::zeros([n_waves, ins, outs]);
        for panel in packed.panels_mut() {
            for (step, row) in panel.numbers.chunks_exact_mut(panel.width).enumerate() {
                let columns = panel.columns.clone().zip(row);
                columns.for_each(|(out, number)| *number = weight(step / ins, step % ins, out));
            }
        }
        // What lies behind a block's channels is not zero.
        let block_stride = n_waves * outs + columns_read::<f32>(1);
        let arriving = numbers(n_blocks * block_stride, 2);
        let mut output = vec![f32::NAN; n_waves * n_blocks * ins];
        WaveGradient { weights: &packed, arriving: &arriving, block_stride, n_blocks }.run(&mut output);
        for (block, input) in (0..n_blocks).flat_map(|block| (0..ins).map(move |input| (block, input))) {
            let sum = |wave: usize, arrived: usize| -> f32 {
                let arriving = &arriving[block * block_stride + arrived * outs..][..outs];
                arriving.iter().enumerate().map(|(out, number)| weight(wave, input, out) * number).sum()
            };
            let got = |wave: usize| output[(wave * n_blocks + block) * ins + input];
            let about =
                format!("{n_waves} waves, block {block} of {n_blocks}, channel {input} of {ins}, {outs} channels");
            if n_waves == 1 {
                assert_eq!(got(0), sum(0, 0), "{about}");
            } else {
                assert_eq!(got(0), sum(0, 0) + sum(1, 1), "{about}");
                assert_eq!(got(1), sum(0, 1) - sum(1, 0), "{about}");
            }
        }
    }

    #[test]
    fn every_shape_of_tile_equals_the_definition() {
        for n_waves in [1, 2] {
            for n_blocks in 1..=9 {
                check(n_waves, n_blocks, 13, 37);
            }
            for ins in 1..=14 {
                check(n_waves, 5, ins, 20);
            }
            for outs in [1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 70] {
                check(n_waves, 3, 12, outs);
            }
        }
    }

    #[test]
    #[should_panic(expected = "what arrives ends within a register")]
    fn what_arrives_must_reach_as_far_as_registers_do() {
        let weights = Packed::<f32>::zeros([2, 3, 5]);
        WaveGradient { weights: &weights, arriving: &[0.0; 10], block_stride: 10, n_blocks: 1 }.run(&mut [0.0; 6]);
    }
}
