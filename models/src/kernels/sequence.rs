//! The sizes of a convolution along time, and whether it is less work in the frequency domain.

/// A convolution along time without dilation or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// How many multiplications a weight is worth that has to be fetched from memory.
const FETCH: usize = 24;

impl Sequence {
    /// Kernel frames once the stride is folded into the channels.
    pub(super) fn folded_kernel(&self) -> usize {
        self.kernel.div_ceil(self.stride)
    }

    /// Channels once the stride is folded into them.
    pub(super) fn folded_channels(&self) -> usize {
        self.channels_in * self.stride
    }

    /// Frames in a block, for the typical length of a question, so that weights are transformed once for all lengths.
    pub(crate) fn block(&self) -> usize {
        const LENGTHS: [usize; 7] = [16, 24, 32, 48, 64, 96, 128];
        const TYPICAL: usize = 500;
        let lengths = LENGTHS.into_iter().filter(|length| *length >= 2 * self.folded_kernel());
        let typical = Sequence { batch: 1, output: TYPICAL, ..*self };
        lengths.min_by_key(|length| typical.cost(*length)).unwrap_or_else(|| 4 * self.folded_kernel())
    }

    /// Whether the convolution is less work in the frequency domain.
    pub(crate) fn pays_in_frequency_domain(&self) -> bool {
        const ENOUGH_CHANNELS: usize = 48;
        let direct = self.folded_kernel() * (self.batch * self.output + FETCH);
        self.channels_in.min(self.channels_out) >= ENOUGH_CHANNELS && 4 * self.cost(self.block()) < 3 * direct
    }

    /// Multiplications for each pair of (folded) channels, with each weight that is fetched from memory as several.
    fn cost(&self, block: usize) -> usize {
        let (ins, outs) = (self.folded_channels(), self.channels_out);
        let blocks = self.batch * self.output.div_ceil(block - self.folded_kernel() + 1);
        let transforms = blocks * block * block / outs + blocks * block * block / ins;
        2 * block * blocks + transforms + block * FETCH
    }

    /// The same of the gradient to the input.
    pub(crate) fn gradient_pays_in_frequency_domain(&self) -> bool {
        self.joined().unwrap_or(*self).backward().pays_in_frequency_domain()
    }

    /// All rows as one, where the gradient of each reaches a kernel beyond what arrives: with as many zeros between what
    /// arrives at two rows, no block's end is left empty at a row's.
    pub(super) fn joined(&self) -> Option<Sequence> {
        let is_full = self.padding == 0 && self.stride == 1 && self.input == self.output + self.kernel - 1;
        (is_full && self.batch > 1).then(|| Sequence {
            batch: 1,
            input: self.batch * self.input,
            output: self.batch * self.input - (self.kernel - 1),
            ..*self
        })
    }

    /// What the gradient to the input is: a convolution of what arrives, giving the folded frames that hold the input.
    pub(super) fn backward(&self) -> Sequence {
        let kernel = self.folded_kernel();
        let first = self.first_folded_frame();
        Sequence {
            batch: self.batch,
            input: self.output,
            output: (self.padding + self.input).div_ceil(self.stride).min(self.output + kernel - 1) - first,
            channels_in: self.channels_out,
            channels_out: self.folded_channels(),
            kernel,
            stride: 1,
            padding: kernel - 1 - first,
        }
    }

    /// The first folded frame that holds a frame of the input, and so the first whose gradient is asked.
    pub(super) fn first_folded_frame(&self) -> usize {
        (self.padding / self.stride).min(self.folded_kernel() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_chosen_for_long_kernels_over_many_channels_alone() {
        let sequence = |channels_in, channels_out, kernel, stride| Sequence {
            batch: 1,
            input: 1000,
            output: 500,
            channels_in,
            channels_out,
            kernel,
            stride,
            padding: 0,
        };
        assert!(sequence(250, 2000, 32, 1).pays_in_frequency_domain());
        assert!(sequence(250, 250, 7, 1).pays_in_frequency_domain());
        assert!(sequence(128, 250, 48, 2).gradient_pays_in_frequency_domain());
        assert!(!sequence(2000, 2000, 1, 1).pays_in_frequency_domain());
        assert!(!sequence(250, 250, 3, 1).pays_in_frequency_domain());
        assert!(!sequence(1, 250, 48, 2).pays_in_frequency_domain());
        let few = Sequence { output: 10, ..sequence(250, 250, 7, 1) };
        assert!(!few.pays_in_frequency_domain());
    }
}
