//! The convolutions that networks spend their time in, forward and to the input, beside what the processor can do at
//! most: `cargo bench -p models`. A "Gelem/s" is a GFLOP/s, counted as the definition of a convolution counts, so that
//! what saves multiplications may pass the peak.

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use models::operators::{Backward, Convolution, ConvolutionParams};
use models::{Dim, GraphBuilder, Layout, Outlet, Trace, Uninterrupted, Value};
use rayon::prelude::*;
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: models::memory::CacheLines = models::memory::CacheLines;

struct Case {
    name: &'static str,
    /// Channels, then places.
    input: &'static [usize],
    out: usize,
    kernel: &'static [usize],
    stride: usize,
    is_depthwise: bool,
}

const fn case(name: &'static str, input: &'static [usize], out: usize, kernel: &'static [usize]) -> Case {
    Case { name, input, out, kernel, stride: 1, is_depthwise: false }
}

const CASES: &[Case] = &[
    case("pointwise 96 to 24 at 112 (E)", &[96, 112, 112], 24, &[1, 1]),
    case("pointwise 672 to 112 at 14 (E)", &[672, 14, 14], 112, &[1, 1]),
    Case { is_depthwise: true, ..case("depthwise 5 by 5 of 480 at 14 (E)", &[480, 14, 14], 480, &[5, 5]) },
    Case { stride: 2, ..case("7 by 7, stride 2, 3 to 64 at 224 (R)", &[3, 224, 224], 64, &[7, 7]) },
    case("3 by 3 of 64 at 56 (R)", &[64, 56, 56], 64, &[3, 3]),
    case("3 by 3 of 512 at 7 (R)", &[512, 7, 7], 512, &[3, 3]),
    case("3 by 3 of 512 at 28 (V)", &[512, 28, 28], 512, &[3, 3]),
    case("7 of 250 along 500 (W)", &[250, 500], 250, &[7]),
    case("32 of 250 to 2000 along 500 (W)", &[250, 500], 2000, &[32]),
    case("1 of 2000 along 500 (W)", &[2000, 500], 2000, &[1]),
];

fn value(shape: &[usize]) -> Value {
    let numbers: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0).collect();
    Value::from_vec(numbers, shape, Layout::Logical).unwrap().to_channels_last().unwrap()
}

fn convolution(case: &Case) -> Convolution {
    let groups = if case.is_depthwise { case.out } else { 1 };
    let shape: Vec<usize> = [case.out, case.input[0] / groups].into_iter().chain(case.kernel.iter().copied()).collect();
    let weight = Tensor::randn(0f32, 0.1, shape, &Device::Cpu).unwrap();
    let bias = Tensor::zeros(case.out, candle_core::DType::F32, &Device::Cpu).unwrap();
    let padding = case.kernel.iter().map(|length| ((length - 1) / 2, length / 2)).collect();
    let plain = ConvolutionParams::plain(weight, Some(bias));
    Convolution::new(ConvolutionParams { stride: vec![case.stride; case.kernel.len()], padding, groups, ..plain })
        .unwrap()
}

fn convolutions(criterion: &mut Criterion) {
    for case in CASES {
        let mut builder = GraphBuilder::new();
        let dims: Vec<Dim> = case.input.iter().copied().map(Dim::Known).collect();
        let input = builder.input("input", &dims).unwrap();
        let output = builder.add("convolution", convolution(case), &[input]).unwrap();
        let graph = builder.finish(&[("output", output)]).unwrap();
        let of_input = value(&graph.hinted_input_shapes()[0]);
        let trace = Trace::record(&graph, std::slice::from_ref(&of_input), &Uninterrupted).unwrap();
        let shape = trace.shape(Outlet { node: output.node, port: 0 }).to_vec();
        let gradients = [Some(value(&shape))];
        let operator = &graph.node(output.node).operator;
        let per_output = operator.n_parameters() / case.out - 1;

        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Elements((2 * shape.iter().product::<usize>() * per_output) as u64));
        group.bench_function("forward", |bencher| bencher.iter(|| operator.forward(&[&of_input]).unwrap()));
        let values = trace.of_node(output.node);
        let backward = Backward { values: &values, gradients: &gradients, rows: &[0], wanted: &[true] };
        group.bench_function("to the input", |bencher| bencher.iter(|| operator.input_gradients(&backward).unwrap()));
        group.finish();
    }
}

/// Multiplications with additions that depend on nothing but registers, on all threads.
fn peak(criterion: &mut Criterion) {
    const ROUNDS: usize = 1 << 16;
    let mut group = criterion.benchmark_group("the processor's peak");
    let threads = rayon::current_num_threads();
    group.throughput(Throughput::Elements((threads * ROUNDS * REGISTERS * lanes() * 2) as u64));
    group.bench_function("registers alone", |bencher| {
        bencher.iter(|| (0..threads).into_par_iter().map(|_| in_registers(ROUNDS)).sum::<f32>());
    });
    group.finish();
}

/// Sums in flight, enough to hide how long each takes and few enough for every register file.
const REGISTERS: usize = 10;

/// Numbers in a register.
fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        return 16;
    }
    8
}

fn in_registers(rounds: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            // Safety: the processor was just asked.
            return unsafe { in_registers_avx512(rounds) };
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // Safety: the processor was just asked.
            return unsafe { in_registers_avx2(rounds) };
        }
    }
    multiply_and_add(rounds)
}

macro_rules! in_registers {
    ($name:ident, $features:literal, $splat:ident, $multiply_add:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        fn $name(rounds: usize) -> f32 {
            use std::arch::x86_64::*;
            let mut sums = [$splat(0.5); REGISTERS];
            let (factor, more) = ($splat(black_box(0.999)), $splat(black_box(0.001)));
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = $multiply_add(*sum, factor, more);
                }
            }
            black_box(sums);
            0.0
        }
    };
}

in_registers!(in_registers_avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps);
in_registers!(in_registers_avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps);

fn multiply_and_add(rounds: usize) -> f32 {
    let mut sums = [[0.5f32; 8]; REGISTERS];
    let (factor, more) = (black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        sums.iter_mut().flatten().for_each(|sum| *sum = *sum * factor + more);
    }
    sums.iter().flatten().sum()
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = peak, convolutions
}
criterion_main!(kernels);
