
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
use std::time::Instant;
use introspection::*;
use models::*;
fn median(mut f: impl FnMut()) -> f64 {
    f();
    let mut t: Vec<f64> = (0..7).map(|_| { let s = Instant::now(); f(); s.elapsed().as_secs_f64() * 1e3 }).collect();
    t.sort_by(f64::total_cmp);
    t[3]
}
fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    let which = std::env::args().nth(1).unwrap_or("WERV".into());
    let per_layer = std::env::args().nth(2).is_some();
    for (letter, name) in [('W', "wav2letter-torchaudio"), ('E', "efficientnet-lite0"), ('R', "resnet18"), ('V', "vgg16")] {
        if !which.contains(letter) { continue; }
        let s = Instant::now();
        let graph = zoo::build(zoo::find(name).unwrap(), loaders::Weights::random(1)).unwrap();
        let graph = passes::merge_batch_norms(&graph).unwrap();
        let built = s.elapsed().as_secs_f64() * 1e3;
        let shape: Vec<usize> = if letter == 'W' { vec![1, 128, 1000] } else { vec![1, 3, 224, 224] };
        let n: usize = shape.iter().product();
        let numbers: Vec<f32> = (0..n).map(|i| (((i as u64).wrapping_mul(6364136223846793005) >> 40) as f32 / (1u32 << 23) as f32) - 1.0).collect();
        let input = Value::from_vec(numbers, &shape, Layout::Logical).unwrap();
        let s = Instant::now();
        let trace = Trace::record(&graph, std::slice::from_ref(&input), &Uninterrupted).unwrap();
        let first = s.elapsed().as_secs_f64() * 1e3;
        let forward = median(|| { Trace::record(&graph, std::slice::from_ref(&input), &Uninterrupted).unwrap(); });
        let axes = OutputAxes::of(&graph.axes().unwrap()[graph.logits().node.0]);
        let at = Outlet { node: graph.inputs()[0], port: 0 };
        let ask = |targets: &[(usize, Option<usize>)], at: Outlet| {
            let targets: Vec<_> = targets.iter().map(|(class, frame)| {
                let t = Target::Class { class: ClassChoice::Index(*class), frame: *frame };
                resolve(&graph, &trace, axes, 0, &t, ScoreOf::Output).unwrap()
            }).collect();
            let q = Question { graph: &graph, trace: &trace, targets: &targets, at, interrupt: &Uninterrupted };
            saliency(&q).unwrap()
        };
        let s = Instant::now();
        ask(&[(3, None)], at);
        let first_back = s.elapsed().as_secs_f64() * 1e3;
        let sal = median(|| { ask(&[(3, None)], at); });
        print!("{letter}: build {built:.0} first forward {first:.0} forward {forward:.1}; first backward {first_back:.0} saliency cached {sal:.1}");
        let eight: Vec<(usize, Option<usize>)> = (0..8).map(|i| (i, (letter == 'W').then_some(20 + 60 * i))).collect();
        print!(" 8 targets {:.1}", median(|| { ask(&eight, at); }));
        if letter == 'W' {
            print!(" one frame {:.2}", median(|| { ask(&[(3, Some(250))], at); }));
            if which == "W5" { let all: Vec<(usize, Option<usize>)> = (0..500).map(|i| (i % 29, Some(i))).collect(); for _ in 0..10 { ask(&all, graph.layer("acoustic_model.0").unwrap()); } return; }
            let all: Vec<(usize, Option<usize>)> = (0..500).map(|i| (i % 29, Some(i))).collect();
            for layer in ["acoustic_model.0", "acoustic_model.8", "acoustic_model.16"] {
                let l = graph.layer(layer).unwrap();
                let s = Instant::now(); ask(&all, l); print!(" 500@{layer} {:.0}", s.elapsed().as_secs_f64() * 1e3);
            }
        }
        println!(" prepared {} MB", graph.prepared_bytes() >> 20);
        if per_layer {
            let mut rows: Vec<(f64, String)> = vec![]; let (mut sf, mut sb) = (0.0, 0.0);
            for node in graph.nodes() {
                if node.operator.as_input().is_some() { continue; }
                let inputs: Vec<Value> = node.inputs.iter().map(|i| trace.value(*i).unwrap()).collect();
                let refs: Vec<&Value> = inputs.iter().collect();
                let t = median(|| { node.operator.forward(&refs).unwrap(); });
                let out = node.operator.forward(&refs).unwrap();
                struct G<'a>(&'a [Value], &'a [Value]);
                impl std::fmt::Debug for G<'_> { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("g") } }
                impl models::operators::NodeValues for G<'_> {
                    fn input_shape(&self, n: usize) -> Vec<usize> { self.0[n].shape().to_vec() }
                    fn input(&self, n: usize) -> Result<Value> { Ok(self.0[n].clone()) }
                    fn output(&self, n: usize) -> Result<Value> { Ok(self.1[n].clone()) }
                }
                use models::Result;
                let g = [Some(out[0].clone())];
                let values = G(&inputs, &out);
                let b = models::operators::Backward { values: &values, gradients: &g, rows: &[0], wanted: &[true, true][..inputs.len()] };
                let tb = median(|| { node.operator.input_gradients(&b).unwrap(); });
                let macs = match node.operator.as_convolution() { Some(c) => { let w = &c.params().weight; w.elem_count() as f64 * out[0].len() as f64 / w.dims()[0] as f64 } None => 0.0 };
                sf += t; sb += tb; rows.push((t + tb, format!("{:28} {:12} {:?} fwd {t:.2} ms ({:.0} GF/s) bwd {tb:.2} ms ({:.0} GF/s)", node.name, node.operator.kind(), out[0].shape(), 2.0 * macs / t / 1e6, 2.0 * macs / tb / 1e6)));
            }
            println!("   sums: forward {sf:.1} backward {sb:.1}"); rows.sort_by(|a, b| b.0.total_cmp(&a.0));
            rows.iter().take(6).for_each(|r| println!("   {}", r.1));
        }
    }
}
