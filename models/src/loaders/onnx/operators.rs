//! What each of ONNX's operators becomes among ours. A new one is a line in the list and in the match.
//!
//! Convolutions and pools are in `windows`.

use std::sync::Arc;

use candle_core::Tensor;

use super::arrays::{from_start, is_float, reshaped, whole};
use super::axes::{FileAxes, Reshaped};
use super::folding::{Known, N_SCENARIOS, Scenarios};
use super::reading::{Read, Reading, layer_name, tensor};
use crate::error::ModelError;
use crate::loaders::LoadError;
use crate::operators::{
    Activation, Arithmetic, ArithmeticFunction, AveragePool, Comparison, Concat, Dense, Extend, Flatten, Identity,
    Largest, LogSoftmax, MaxPool, Mean, Operand, Operator, PointwiseFunction, Prelu, Reshape, Softmax, Squeeze,
    Transpose, Unsqueeze,
};

/// Operators that are evaluated on what a network computes; more are folded, see `folding`.
const EVALUATED: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Celu",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "GRU",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Selu",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Whether an operator's type is one of those that are evaluated.
pub(super) fn is_evaluated(operator: &str) -> bool {
    EVALUATED.contains(&operator)
}

/// Operators that want the batch to be the first axis in the file too; all others know of `axes`.
const BATCH_FIRST: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "MaxPool",
    "Pad",
    "Resize",
];

/// What a node becomes: an operator over some of the node's inputs, by their places.
pub(super) struct Converted {
    pub(super) operator: Arc<dyn Operator>,
    pub(super) inputs: Vec<usize>,
    /// The file's axes of its output, where they are others than those of its first input.
    pub(super) axes: Option<FileAxes>,
}

/// An operator over inputs at these places.
pub(super) fn layer(operator: impl Operator + 'static, inputs: &[usize]) -> Result<Converted, LoadError> {
    Ok(Converted { operator: Arc::new(operator), inputs: inputs.to_vec(), axes: None })
}

impl Reading<'_> {
    /// Fails where the file has the batch elsewhere than this operator can have it.
    pub(super) fn check_batch(&self) -> Result<(), LoadError> {
        let needs_it_first = BATCH_FIRST.contains(&self.node.op_type.as_str());
        match self.axes_of(0).filter(|axes| needs_it_first && !axes.is_plain()) {
            None => Ok(()),
            Some(axes) => {
                let at =
                    axes.batch().map_or("is joined with other axes".to_owned(), |axis| format!("is in axis {axis}"));
                Err(self.refused(format!("the batch {at} of its input in the file; here it must be the first axis")))
            }
        }
    }

    /// What the node becomes.
    pub(super) fn converted(&self) -> Result<Converted, LoadError> {
        let pointwise = |function: PointwiseFunction| layer(Activation::new(function), &[0]);
        let attributes = &self.attributes;
        match self.node.op_type.as_str() {
            "Relu" => pointwise(PointwiseFunction::Relu),
            "Sigmoid" => pointwise(PointwiseFunction::Sigmoid),
            "Tanh" => pointwise(PointwiseFunction::Tanh),
            "Softplus" => pointwise(PointwiseFunction::Softplus),
            "Erf" => pointwise(PointwiseFunction::Erf),
            "HardSwish" => pointwise(PointwiseFunction::HardSwish),
            "LeakyRelu" => pointwise(PointwiseFunction::LeakyRelu { alpha: attributes.float("alpha", 0.01) }),
            "Elu" => pointwise(PointwiseFunction::Elu { alpha: attributes.float("alpha", 1.0) }),
            "HardSigmoid" => pointwise(PointwiseFunction::HardSigmoid {
                alpha: attributes.float("alpha", 0.2),
                beta: attributes.float("beta", 0.5),
            }),
            "Gelu" if attributes.text("approximate") == Some("tanh") => pointwise(PointwiseFunction::GeluTanh),
            "Gelu" => pointwise(PointwiseFunction::Gelu),
            "Clip" => pointwise(PointwiseFunction::Clip {
                low: self.scalar(1)?.unwrap_or(attributes.float("min", f64::NEG_INFINITY)),
                high: self.scalar(2)?.unwrap_or(attributes.float("max", f64::INFINITY)),
            }),
            "Selu" => pointwise(PointwiseFunction::Selu {
                alpha: attributes.float("alpha", 1.673_263_242_354_377_3),
                gamma: attributes.float("gamma", 1.050_700_987_355_480_5),
            }),
            "Celu" => pointwise(PointwiseFunction::Celu { alpha: attributes.float("alpha", 1.0) }),
            "Mish" => pointwise(PointwiseFunction::Mish),
            "Softsign" => pointwise(PointwiseFunction::Softsign),
            "Abs" => pointwise(PointwiseFunction::Abs),
            "Neg" => pointwise(PointwiseFunction::Negative),
            "Exp" => pointwise(PointwiseFunction::Exp),
            "Log" => pointwise(PointwiseFunction::Log),
            "Reciprocal" => pointwise(PointwiseFunction::Reciprocal),
            "PRelu" => layer(Prelu::new(self.weights_beside(1, 0)?), &[0]),
            "Greater" => self.comparison(Comparison::Greater, Comparison::Less),
            "GreaterOrEqual" => self.comparison(Comparison::GreaterOrEqual, Comparison::LessOrEqual),
            "Less" => self.comparison(Comparison::Less, Comparison::Greater),
            "LessOrEqual" => self.comparison(Comparison::LessOrEqual, Comparison::GreaterOrEqual),
            "Where" => self.choice(),
            "Max" => self.extreme(ArithmeticFunction::Maximum),
            "Min" => self.extreme(ArithmeticFunction::Minimum),
            "Add" => self.arithmetic(ArithmeticFunction::Add),
            "Sub" => self.arithmetic(ArithmeticFunction::Subtract),
            "Mul" => self.arithmetic(ArithmeticFunction::Multiply),
            "Div" => self.arithmetic(ArithmeticFunction::Divide),
            "Identity" => layer(Identity { kind: "Identity" }, &[0]),
            "Dropout" if self.scalar(2)?.unwrap_or(0.0) != 0.0 => Err(self.refused_training()),
            "Dropout" => layer(Identity { kind: "Dropout" }, &[0]),
            "Cast" if is_float(attributes.int("to", 0)) => layer(Identity { kind: "Cast" }, &[0]),
            "Conv" => self.convolution(),
            "ConvTranspose" => self.transposed_convolution(),
            "InstanceNormalization" | "GroupNormalization" => self.group_norm(),
            "Resize" => self.resize(),
            "Gemm" => self.gemm(),
            "BatchNormalization" => self.batch_norm(),
            "MaxPool" => layer(MaxPool::new(self.pool_window()?).map_err(|error| self.at_node(error))?, &[0]),
            "AveragePool" => {
                let pool = AveragePool::new(self.pool_window()?, attributes.int("count_include_pad", 0) != 0);
                layer(pool.map_err(|error| self.at_node(error))?, &[0])
            }
            "GlobalAveragePool" => layer(Mean::global_average_pool(), &[0]),
            "GlobalMaxPool" => layer(Largest::global_max_pool(self.rank()?), &[0]),
            "ReduceMax" => self.reduction(18, largest_over, "the maximum"),
            "ReduceMean" => self.reduction(18, Mean::over, "the mean"),
            "ReduceSum" => self.reduction(13, Mean::sum_over, "the sum"),
            "Sqrt" => pointwise(PointwiseFunction::Sqrt),
            "Pow" => match self.optional_constant(1)?.filter(|exponent| exponent.numbers.len() == 1) {
                Some(_) => pointwise(PointwiseFunction::Power { exponent: self.scalar(1)?.unwrap_or(1.0) }),
                None => Err(self.refused("its exponent must be one constant number")),
            },
            "LayerNormalization" => self.layer_norm(),
            "Gather" => self.gather(),
            "Softmax" => layer(Softmax { axis: self.softmax_axis()? }, &[0]),
            "LogSoftmax" => layer(LogSoftmax { axis: self.softmax_axis()? }, &[0]),
            "Flatten" => {
                let axis = attributes.int("axis", 1);
                let axis = if axis == self.rank()? as i64 { self.rank()? } else { self.file_axis(axis)? };
                self.flatten(axis)
            }
            "Transpose" => self.transpose(),
            "Squeeze" => self.squeeze(),
            "Unsqueeze" => self.unsqueeze(),
            "Concat" => self.concat(),
            "Reshape" => self.reshape(),
            "Pad" => self.pad(),
            operator => Err(self.unsupported(format!("{operator} of computed values"))),
        }
    }

    /// An operator's own refusal, with the node's name.
    pub(super) fn at_node(&self, error: ModelError) -> LoadError {
        error.at_node(layer_name(self.node)).into()
    }

    pub(super) fn refused_training(&self) -> LoadError {
        self.refused("it is in training mode; export the network for inference")
    }

    fn arithmetic(&self, function: ArithmeticFunction) -> Result<Converted, LoadError> {
        match (self.inputs.first(), self.inputs.get(1)) {
            (Some(Some(Read::Computed { .. })), Some(Some(Read::Computed { .. }))) => {
                self.check_same_axes(&[0, 1])?;
                layer(Arithmetic::new(function, Operand::Graph), &[0, 1])
            }
            (_, Some(Some(Read::Computed { .. }))) => {
                layer(Arithmetic::new(function, Operand::Left(self.weights_beside(0, 1)?)), &[1])
            }
            _ => layer(Arithmetic::new(function, Operand::Right(self.weights_beside(1, 0)?)), &[0]),
        }
    }

    /// What is joined place by place must have the batch in one place in the file.
    pub(super) fn check_same_axes(&self, inputs: &[usize]) -> Result<(), LoadError> {
        let mut given = inputs.iter().filter_map(|&nth| self.axes_of(nth));
        let Some(first) = given.next() else { return Ok(()) };
        let is_like_first = |other: &FileAxes| other == first || (other.is_plain() && first.is_plain());
        match given.all(is_like_first) {
            true => Ok(()),
            false => Err(self.refused("its inputs have the batch in different places in the file")),
        }
    }

    /// A mean or sum over axes; since opset `since` they are an input.
    fn reduction<O: Operator + 'static>(
        &self,
        since: i64,
        over: fn(&[isize], bool) -> O,
        what: &str,
    ) -> Result<Converted, LoadError> {
        let keep_dims = self.attributes.int("keepdims", 1) != 0;
        let Some(axes) = self.named_axes(since)?.filter(|axes| !axes.is_empty()) else {
            if self.attributes.int("noop_with_empty_axes", 0) != 0 {
                return layer(Identity { kind: "Identity" }, &[0]);
            }
            return Err(self.refused(format!("without axes it takes {what} over the batch too")));
        };
        let axes: Vec<usize> = axes.into_iter().map(|axis| self.file_axis(axis)).collect::<Result<_, _>>()?;
        let ours =
            axes.iter().map(|&axis| Ok(self.axis(axis as i64)? as isize)).collect::<Result<Vec<_>, LoadError>>()?;
        let of_file = self.axes()?;
        let behind = if keep_dims { of_file.clone() } else { of_file.without(&axes) };
        Ok(Converted { axes: Some(behind), ..layer(over(&ours, keep_dims), &[0])? })
    }

    /// Branches side by side, or one of them with constants before and behind.
    fn concat(&self) -> Result<Converted, LoadError> {
        let asked = self.attributes.int("axis", 1);
        let computed: Vec<usize> = (0..self.inputs.len()).filter(|&nth| self.axes_of(nth).is_some()).collect();
        if computed.len() == self.inputs.len() {
            self.check_same_axes(&computed)?;
            return layer(Concat { axis: self.axis(asked)? as isize }, &computed);
        }
        let [nth] = computed[..] else {
            return Err(self.refused("it joins constants with several computed values; one is supported"));
        };
        let axes = self.axes_of(nth).expect("it is computed");
        let axis = from_start(asked, axes.rank()).map_err(|reason| self.refused(reason))?;
        if !axes.is_plain() || axis == 0 {
            return Err(self.refused("constants join a value whose first axis is the batch, along another"));
        }
        let joined = |inputs: std::ops::Range<usize>| -> Result<Option<Tensor>, LoadError> {
            let rows = inputs.map(|input| self.row_of_constant(input)).collect::<Result<Vec<_>, _>>()?;
            if rows.is_empty() { Ok(None) } else { Ok(Some(Tensor::cat(&rows, axis)?)) }
        };
        let extend = Extend::new(axis, joined(0..nth)?, joined(nth + 1..self.inputs.len())?);
        layer(extend.map_err(|error| self.at_node(error))?, &[nth])
    }

    /// What a constant is for one row of a batch; it must be the same for all.
    fn row_of_constant(&self, nth: usize) -> Result<Tensor, LoadError> {
        let Some(Some(Read::Known(known))) = self.inputs.get(nth) else {
            return Err(self.refused(format!("input {nth} is missing")));
        };
        let mut row: Option<Tensor> = None;
        for scenario in 0..N_SCENARIOS {
            let all = tensor(known.at(scenario))?;
            for of_batch in 0..all.dims().first().copied().unwrap_or(0) {
                let this = all.narrow(0, of_batch, 1)?;
                let is_same = |row: &Tensor| -> Result<bool, candle_core::Error> {
                    Ok(row.dims() == this.dims()
                        && row.flatten_all()?.to_vec1::<f32>()? == this.flatten_all()?.to_vec1::<f32>()?)
                };
                if let Some(row) = &row
                    && !is_same(row)?
                {
                    let reason = format!("input {nth} is a constant that depends on the input's lengths or its row");
                    return Err(self.refused(reason));
                }
                row = Some(this);
            }
        }
        row.ok_or_else(|| self.refused(format!("input {nth} is an empty constant")))
    }

    fn transpose(&self) -> Result<Converted, LoadError> {
        let rank = self.rank()?;
        let order = self.attributes.ints("perm").unwrap_or_else(|| (0..rank as i64).rev().collect());
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank as i64) {
            return Err(self.refused(format!("`perm` is {order:?} for {rank} axes; each must be there once")));
        }
        let order: Vec<usize> = order.into_iter().map(|axis| axis as usize).collect();
        let (axes, order) = self.axes()?.permuted(&order);
        let moves = if order.is_sorted() {
            layer(Identity { kind: "Transpose" }, &[0])
        } else {
            layer(Transpose { order }, &[0])
        };
        Ok(Converted { axes: Some(axes), ..moves? })
    }

    fn squeeze(&self) -> Result<Converted, LoadError> {
        let (of_file, shapes) = (self.axes()?, self.shapes()?);
        let all = || {
            let has_length_one = |axis: &usize| of_file.own(*axis).is_some_and(|ours| shapes[0][ours] == 1);
            (0..of_file.rank()).filter(has_length_one).map(|axis| axis as i64).collect()
        };
        let axes = self.named_axes(13)?.unwrap_or_else(all);
        let axes: Vec<usize> = axes.into_iter().map(|axis| self.file_axis(axis)).collect::<Result<_, _>>()?;
        // A batch of one that the exporter was shown may go: it is only not named any more.
        let is_batch = |axis: &usize| of_file.alone(*axis) == Some(0) && self.declared_batch == Some(1);
        let kept = axes.iter().filter(|axis| !is_batch(axis));
        let ours: Vec<isize> =
            kept.map(|&axis| Ok(self.axis(axis as i64)? as isize)).collect::<Result<_, LoadError>>()?;
        Ok(Converted { axes: Some(of_file.without(&axes)), ..layer(Squeeze { axes: ours }, &[0])? })
    }

    fn unsqueeze(&self) -> Result<Converted, LoadError> {
        let Some(axes) = self.named_axes(13)? else { return Err(self.refused("it does not say its axes")) };
        let rank = self.rank()? + axes.len();
        let places: Result<Vec<usize>, String> = axes.into_iter().map(|axis| from_start(axis, rank)).collect();
        let (axes, ours) = self.axes()?.with_new(&places.map_err(|reason| self.refused(reason))?);
        let ours = ours.into_iter().map(|axis| axis as isize).collect();
        Ok(Converted { axes: Some(axes), ..layer(Unsqueeze { axes: ours }, &[0])? })
    }

    fn gemm(&self) -> Result<Converted, LoadError> {
        let attributes = &self.attributes;
        if attributes.int("transA", 0) != 0 {
            return Err(self.refused("`transA` would transpose the batch"));
        }
        if self.rank()? != 2 {
            return Err(self.refused(format!("its input has shape {:?}; a matrix is needed", self.shapes()?[0])));
        }
        self.own_axis(1)?;
        let weight = self.weights(1)?;
        if weight.rank() != 2 {
            return Err(self.refused(format!("its weights have shape {:?}; a matrix is needed", weight.dims())));
        }
        let weight = if attributes.int("transB", 0) != 0 { weight } else { weight.t()?.contiguous()? };
        let scaled = |tensor: candle_core::Tensor, factor: f64| {
            if factor == 1.0 { Ok(tensor) } else { tensor.affine(factor, 0.0) }
        };
        let n_out = weight.dims()[0];
        let bias = match self.optional_weights(2)? {
            None => None,
            Some(bias) => {
                let row = bias.broadcast_as((1, n_out)).and_then(|row| row.contiguous()?.reshape(n_out));
                let reason = || self.refused(format!("a bias of shape {:?} for {n_out} outputs", bias.dims()));
                Some(scaled(row.map_err(|_| reason())?, attributes.float("beta", 1.0))?)
            }
        };
        let dense = Dense::new(scaled(weight, attributes.float("alpha", 1.0))?, bias);
        layer(dense.map_err(|error| self.at_node(error))?, &[0])
    }

    fn softmax_axis(&self) -> Result<isize, LoadError> {
        let default = if self.opset < 13 { 1 } else { -1 };
        Ok(self.axis(self.attributes.int("axis", default))? as isize)
    }

    /// What takes several of our operators, with what each does.
    pub(super) fn in_steps(&self) -> Result<Option<Vec<(String, Converted)>>, LoadError> {
        match self.node.op_type.as_str() {
            "Slice" => self.slices().map(Some),
            "ReduceL2" => self.norm().map(Some),
            _ => self.softmax_over_several_axes(),
        }
    }

    /// The root of the sum of squares.
    fn norm(&self) -> Result<Vec<(String, Converted)>, LoadError> {
        let sum = self.reduction(18, Mean::sum_over, "the norm")?;
        let axes = sum.axes.clone();
        let square = layer(Activation::new(PointwiseFunction::Power { exponent: 2.0 }), &[0])?;
        let root = Converted { axes, ..layer(Activation::new(PointwiseFunction::Sqrt), &[0])? };
        let steps = [("/Square", square), ("/Sum", sum), ("", root)];
        Ok(steps.into_iter().map(|(name, step)| (name.to_owned(), step)).collect())
    }

    /// Before opset 13 a softmax goes over all axes from its own on as if they were one; where they are several, these
    /// are the steps that say so.
    fn softmax_over_several_axes(&self) -> Result<Option<Vec<(String, Converted)>>, LoadError> {
        let is_log = match self.node.op_type.as_str() {
            "Softmax" => false,
            "LogSoftmax" => true,
            _ => return Ok(None),
        };
        let axis = self.softmax_axis()? as usize;
        let shapes = self.shapes()?;
        if self.opset >= 13 || shapes[0][axis + 1..].iter().all(|&length| length == 1) {
            return Ok(None);
        }
        if axis == 0 || !self.axes()?.is_plain() {
            return Err(self.refused("before opset 13 it would join the batch with the other axes"));
        }
        let flat: Scenarios<Vec<usize>> = shapes
            .each_ref()
            .map(|shape| shape[..axis].iter().copied().chain([shape[axis..].iter().product::<usize>()]).collect());
        let back = Reshape { shape: self.target(&flat, shapes)? };
        let softmax = if is_log { layer(LogSoftmax { axis: -1 }, &[0])? } else { layer(Softmax { axis: -1 }, &[0])? };
        let steps = [("/Flatten", layer(Flatten { axis }, &[0])?), ("/Softmax", softmax), ("", layer(back, &[0])?)];
        Ok(Some(steps.into_iter().map(|(name, step)| (name.to_owned(), step)).collect()))
    }

    /// ONNX's flatten makes a matrix; ours keeps the axes before its own, which for a matrix is only the batch.
    fn flatten(&self, axis: usize) -> Result<Converted, LoadError> {
        let joins_batch = self.shapes()?.iter().any(|shape| shape[1..axis.max(1)].iter().any(|&length| length != 1));
        if axis == 0 || joins_batch {
            return Err(self.refused(format!("axis {axis} would join the batch with other axes")));
        }
        layer(Flatten { axis: 1 }, &[0])
    }

    fn reshape(&self) -> Result<Converted, LoadError> {
        let Some(Some(Read::Known(target))) = self.inputs.get(1) else {
            return Err(self.refused("its shape is computed from the numbers of the input"));
        };
        let mut numbers: Scenarios<Vec<i64>> = Default::default();
        for (scenario, numbers) in numbers.iter_mut().enumerate() {
            *numbers = whole(target.at(scenario)).map_err(|reason| self.refused(reason))?;
            if self.attributes.int("allowzero", 0) != 0 && numbers.contains(&0) {
                return Err(self.refused(format!("{numbers:?} with `allowzero` has no numbers")));
            }
        }
        let (from, real) = (self.shapes()?, self.shapes()?.each_ref().map(|shape| shape[0]));
        let fixed = [usize::try_from(self.declared_batch.unwrap_or(1)).unwrap_or(1); N_SCENARIOS];
        // An exporter that was shown a fixed batch may have written it as a number.
        let tries = match (target, self.declared_batch) {
            (Known::FromShapes(_), _) => vec![real],
            (Known::Constant(_), Some(_)) => vec![fixed, real],
            (Known::Constant(_), None) => vec![real, fixed],
        };
        let mut tried = tries.into_iter().map(|batches| self.reshaped_with(batches, &numbers));
        let first = tried.next().expect("there is one to try");
        // The second meaning counts only where it says where the batch is.
        let mut others = tried.filter_map(Result::ok).filter(|reshaped| reshaped.axes.batch().is_some());
        let reshaped = first.or_else(|refusal| others.next().ok_or(refusal))?;
        let shape = self.target(from, &reshaped.shapes)?;
        let is_flat = shape.len() == 2 && from[0].len() >= 2;
        let renamed = if is_flat { layer(Flatten { axis: 1 }, &[0])? } else { layer(Reshape { shape }, &[0])? };
        Ok(Converted { axes: Some(reshaped.axes), ..renamed })
    }

    /// The reshape, where the file's shapes have these batches.
    fn reshaped_with(&self, batches: Scenarios<usize>, numbers: &Scenarios<Vec<i64>>) -> Result<Reshaped, LoadError> {
        let (axes, ours) = (self.axes()?, self.shapes()?);
        let mut of_file: Scenarios<Vec<usize>> = ours.clone();
        let mut to: Scenarios<Vec<usize>> = Default::default();
        for scenario in 0..N_SCENARIOS {
            of_file[scenario][0] = batches[scenario];
            of_file[scenario] = axes.shape(&of_file[scenario]);
            to[scenario] = reshaped(&of_file[scenario], &numbers[scenario]).map_err(|reason| self.refused(reason))?;
        }
        let cut = || {
            let reason = format!("{:?} to {:?} does not keep the batch together", of_file[2], to[2]);
            self.refused(reason)
        };
        axes.reshaped(ours, &to, batches).ok_or_else(cut)
    }

    /// The entries of a reshape that turns these shapes into those: what is the same for all inputs is a number, what
    /// is kept is 0, and one axis may take what is left.
    fn target(&self, from: &Scenarios<Vec<usize>>, to: &Scenarios<Vec<usize>>) -> Result<Vec<isize>, LoadError> {
        let entry = |axis: usize| {
            let is_kept = (0..N_SCENARIOS).all(|scenario| from[scenario].get(axis) == Some(&to[scenario][axis]));
            let is_constant = to.iter().all(|shape| shape[axis] == to[0][axis]);
            match (is_kept, is_constant) {
                (_, true) if axis > 0 => to[0][axis] as isize,
                (true, _) => 0,
                _ => -1,
            }
        };
        let shape: Vec<isize> = (0..to[0].len()).map(entry).collect();
        if shape.first() != Some(&0) {
            return Err(self.refused(format!("{:?} to {:?} does not keep the batch", from[2], to[2])));
        }
        if shape.iter().filter(|entry| **entry == -1).count() > 1 {
            return Err(self.refused(format!("several axes of {:?} depend on the input's lengths", to[0])));
        }
        Ok(shape)
    }
}

fn largest_over(axes: &[isize], keep_dims: bool) -> Largest {
    Largest::over(&axes.iter().map(|&axis| axis as usize).collect::<Vec<_>>(), keep_dims)
}
