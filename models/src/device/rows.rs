//! A window that slides over one or two axes, seen as taps at fixed distances over flat rows.
//!
//! The padded input is cut into blocks as long as the stride; a block with all its places and channels is a row, and all
//! rows of a batch lie one behind the other. What a tap of the window reads for all outputs is then a run of rows that
//! begins at the tap's distance: a slice without a copy. Outputs that run over an image's edge are computed too, and
//! left out in the end.

use candle_core::Tensor;

use super::{add_to, with_number, with_zeros};
use crate::error::Result;

/// Numbers of patches that are laid out side by side at a time.
const MOST_NUMBERS: usize = 1 << 28;

/// The window, rows before columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Before the first row and column.
    pub(super) padding: [usize; 2],
}

impl Window {
    /// From lists with an entry for each spatial axis; a sequence is one row.
    pub(super) fn new(kernel: &[usize], stride: &[usize], dilation: &[usize], padding: &[(usize, usize)]) -> Window {
        let pair = |one: usize, of_axis: &dyn Fn(usize) -> usize| match kernel.len() {
            1 => [one, of_axis(0)],
            _ => [of_axis(0), of_axis(1)],
        };
        Window {
            kernel: pair(1, &|axis| kernel[axis]),
            stride: pair(1, &|axis| stride[axis]),
            dilation: pair(1, &|axis| dilation[axis]),
            padding: pair(0, &|axis| padding[axis].0),
        }
    }
}

/// Where a tap reads: so many rows further, and which place of the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) offset: usize,
    pub(super) phase: usize,
}

/// A window over inputs of one size.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    batch: usize,
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    /// Blocks of an image along each axis.
    blocks: [usize; 2],
    /// Places of a block that are read: all, or the first alone.
    pub(super) n_phases: usize,
    /// In the order of the kernel, row by row.
    pub(super) taps: Vec<Tap>,
}

impl Rows {
    /// # Shapes
    /// - `input`, `output`: logical, `[batch, channel, …]`
    pub(super) fn new(window: &Window, input: &[usize], output: &[usize]) -> Rows {
        let Window { kernel, stride, dilation, padding } = *window;
        let plane = |shape: &[usize]| if shape.len() == 3 { [1, shape[2]] } else { [shape[2], shape[3]] };
        let (batch, channels, input, output) = (input[0], input[1], plane(input), plane(output));
        let blocks = [0, 1].map(|axis| output[axis] + (kernel[axis] - 1) * dilation[axis] / stride[axis]);
        let tap = |nth: usize| {
            let [row, column] = [nth / kernel[1] * dilation[0], nth % kernel[1] * dilation[1]];
            Tap {
                offset: row / stride[0] * blocks[1] + column / stride[1],
                phase: row % stride[0] * stride[1] + column % stride[1],
            }
        };
        let taps: Vec<Tap> = (0..kernel[0] * kernel[1]).map(tap).collect();
        let n_phases = if taps.iter().all(|tap| tap.phase == 0) { 1 } else { stride[0] * stride[1] };
        Rows { batch, channels, input, output, stride, padding, blocks, n_phases, taps }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.batch * self.blocks[0] * self.blocks[1]
    }

    /// The distance of the last tap.
    pub(super) fn reach(&self) -> usize {
        self.taps.iter().map(|tap| tap.offset).max().unwrap_or(0)
    }

    /// Outputs that are computed, from the first to the last one that is wanted.
    pub(super) fn n_outputs(&self) -> usize {
        self.len() - self.reach()
    }

    /// # Shapes
    /// - `input`: `[batch, row, column, channel]`; returns `[row, phase · channel]`, `outside` standing in the padding
    pub(super) fn of_input(&self, input: &Tensor, outside: f64) -> Result<Tensor> {
        let mut padded = input.clone();
        for axis in [0, 1] {
            let (length, before) = (self.blocks[axis] * self.stride[axis], self.padding[axis]);
            // Behind the last window nothing is read.
            let read = self.input[axis].min(length.saturating_sub(before));
            padded = padded.narrow(axis + 1, 0, read)?;
            padded = with_number(&padded.contiguous()?, axis + 1, before, length - before - read, outside)?;
        }
        let n_columns = self.n_phases * self.channels;
        if self.stride == [1, 1] {
            return Ok(padded.reshape((self.len(), n_columns))?);
        }
        let [[rows, columns], [down, right]] = [self.blocks, self.stride];
        let in_blocks = padded.reshape(&[self.batch, rows, down, columns, right, self.channels][..])?;
        let mut in_blocks = in_blocks.permute([0, 1, 3, 2, 4, 5])?;
        if self.n_phases == 1 {
            in_blocks = in_blocks.narrow(3, 0, 1)?.narrow(4, 0, 1)?;
        }
        Ok(in_blocks.contiguous()?.reshape((self.len(), n_columns))?)
    }

    /// The way back of [`Rows::of_input`], for what arrives at rows.
    pub(super) fn to_input(&self, rows: &Tensor) -> Result<Tensor> {
        let [[n_rows, n_columns], [down, right]] = [self.blocks, self.stride];
        let mut image = if self.stride == [1, 1] {
            rows.reshape((self.batch, n_rows, n_columns, self.channels))?
        } else {
            let (down_read, right_read) = if self.n_phases == 1 { (1, 1) } else { (down, right) };
            let read = [self.batch, n_rows, n_columns, down_read, right_read, self.channels];
            let in_blocks = with_zeros(&rows.reshape(&read[..])?, 3, 0, down - down_read)?;
            let in_blocks = with_zeros(&in_blocks, 4, 0, right - right_read)?;
            let lengths = (self.batch, n_rows * down, n_columns * right, self.channels);
            in_blocks.permute([0, 1, 3, 2, 4, 5])?.contiguous()?.reshape(lengths)?
        };
        for axis in [0, 1] {
            let before = self.padding[axis];
            let read = self.input[axis].min(image.dims()[axis + 1].saturating_sub(before));
            image = image.narrow(axis + 1, before.min(image.dims()[axis + 1] - read), read)?.contiguous()?;
            image = with_zeros(&image, axis + 1, 0, self.input[axis] - read)?;
        }
        Ok(image)
    }

    /// # Shapes
    /// - `computed`: `[n_outputs, channel]`; returns `[batch, row, column, channel]`
    pub(super) fn to_output(&self, computed: &Tensor) -> Result<Tensor> {
        let channels = computed.dims()[1];
        let all = with_zeros(computed, 0, 0, self.len() - self.n_outputs())?;
        let image = all.reshape((self.batch, self.blocks[0], self.blocks[1], channels))?;
        Ok(image.narrow(1, 0, self.output[0])?.narrow(2, 0, self.output[1])?.contiguous()?)
    }

    /// The way back of [`Rows::to_output`]: zeros where nothing was wanted.
    ///
    /// # Shapes
    /// - returns `[row, channel]`
    pub(super) fn of_output(&self, output: &Tensor) -> Result<Tensor> {
        let channels = output.dims()[3];
        let image = with_zeros(output, 1, 0, self.blocks[0] - self.output[0])?;
        let image = with_zeros(&image, 2, 0, self.blocks[1] - self.output[1])?;
        Ok(image.reshape((self.len(), channels))?)
    }
}

/// `y_r = Σ_t x_{r + offset_t} · w_t` for so many rows.
///
/// # Shapes
/// - `x`: `[row, in]`, `weights`: `[tap, in, out]`; returns `[n_rows, out]`
pub(super) fn products(x: &Tensor, offsets: &[usize], n_rows: usize, weights: &Tensor) -> Result<Tensor> {
    let (n_taps, n_in, n_out) = weights.dims3()?;
    if n_taps == 1 {
        return Ok(x.narrow(0, offsets[0], n_rows)?.matmul(&weights.squeeze(0)?)?);
    }
    if n_in > n_out {
        // Narrower than what is read: sums of products move less than patches side by side.
        let mut sum: Option<Tensor> = None;
        for (tap, &offset) in offsets.iter().enumerate() {
            let product = x.narrow(0, offset, n_rows)?.matmul(&weights.get(tap)?)?;
            add_to(&mut sum, product)?;
        }
        return Ok(sum.expect("a kernel has a tap"));
    }
    let weights = weights.reshape((n_taps * n_in, n_out))?;
    let mut parts = Vec::new();
    for (first, n) in chunks(n_rows, n_taps * n_in) {
        parts.push(patches(x, offsets, first, n)?.matmul(&weights)?);
    }
    Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(&parts, 0)? })
}

/// `Σ_r x_{r + offset_t}ᵀ · g_r` for each tap.
///
/// # Shapes
/// - `x`: `[row, in]`, `g`: `[row, out]`; returns `[tap, in, out]`
pub(super) fn outer_products(x: &Tensor, offsets: &[usize], g: &Tensor) -> Result<Tensor> {
    let (n_in, (n_rows, n_out)) = (x.dims()[1], g.dims2()?);
    let mut sum: Option<Tensor> = None;
    for (first, n) in chunks(n_rows, offsets.len() * n_in) {
        let product = patches(x, offsets, first, n)?.t()?.matmul(&g.narrow(0, first, n)?)?;
        add_to(&mut sum, product)?;
    }
    Ok(sum.expect("there is a row").reshape((offsets.len(), n_in, n_out))?)
}

fn patches(x: &Tensor, offsets: &[usize], first: usize, n: usize) -> Result<Tensor> {
    let slices =
        offsets.iter().map(|offset| x.narrow(0, offset + first, n)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&slices, 1)?)
}

/// Runs of rows whose patches are not too many numbers at once.
fn chunks(n_rows: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = (MOST_NUMBERS / width.max(1)).max(1);
    (0..n_rows).step_by(most).map(move |first| (first, most.min(n_rows - first)))
}
