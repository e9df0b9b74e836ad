//! `cargo bench --bench roofline [-- FILTER]`: every kernel at the 130m shape as a fraction of what this machine can
//! do, the ceiling being measured right before and after the kernel. `MAMBA_KERNELS_ISA` forces an instruction set.

mod checkpoint;
mod machine;

use machine::{ReadBandwidth, copy_bandwidth, elementary_rate, fma_peak};
use mamba_kernels::cpu::{Cpu, Elementary, Workspace};
use mamba_kernels::model::{Logits, Mamba, Scratch};
use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, InProj, Linear, SelectiveScan};
use mamba_kernels::{Backend, Batch, DType, Element, Rows, bf16, f16};
use std::time::Instant;

/// Rounds of ceiling, kernel, ceiling.
const ROUNDS: usize = 7;

struct Bench {
    filter: String,
    threads: usize,
    cpu: Cpu,
    memory: ReadBandwidth,
}

/// Pseudo-random values in [-1, 1].
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

impl Bench {
    /// Prints `work / seconds` beside the ceiling: medians of rounds. `unit` scales both.
    fn row(
        &self,
        name: &str,
        work: f64,
        ceiling: impl Fn() -> f64,
        unit: (f64, &str),
        mut kernel: impl FnMut(),
    ) {
        let name = format!("{name}/{}/t{}", self.cpu.isa(), self.threads);
        if !name.contains(&self.filter) {
            return;
        }
        kernel();
        let start = Instant::now();
        kernel();
        let repeats = (0.05 / start.elapsed().as_secs_f64()).clamp(1.0, 2000.0) as usize;
        let (mut rates, mut fractions, mut ceilings) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = ceiling();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            (0..repeats).for_each(|_| kernel());
            let rate = work * repeats as f64 / start.elapsed().as_secs_f64();
            let after = ceiling();
            let limit = before.max(after);
            rates.push(rate);
            ceilings.push(limit);
            fractions.push(rate / limit);
            before = after;
        }
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (scale, unit) = unit;
        println!(
            "{name:52} {:9.2} of {:9.2} {unit:9} {:5.1} %  ({:.1} to {:.1})",
            median(&mut rates) / scale,
            median(&mut ceilings) / scale,
            100.0 * median(&mut fractions),
            100.0 * fractions[0],
            100.0 * fractions[ROUNDS - 1],
        );
    }

    fn fma(&self) -> f64 {
        fma_peak(self.cpu.isa(), self.threads)
    }

    fn linear<W: Element>(&self, name: &str, (m, k, n): (usize, usize, usize), streamed: bool) {
        let weight: Vec<W> = values(n * k, 1).into_iter().map(W::from_f32).collect();
        let weight = self.cpu.pack(Rows::new(&weight[..], n, k).unwrap()).unwrap();
        let input = values(m * k, 2);
        let mut output = vec![0.0f32; m * n];
        let mut workspace = Workspace::default();
        let kernel = || {
            let args = Linear::<Cpu, f32, f32> {
                input: Rows::new(&input[..], m, k).unwrap(),
                weight: &weight,
                bias: None,
                epilogue: Epilogue::Store,
                output: Rows::new(&mut output[..], m, n).unwrap(),
            };
            self.cpu.linear(args, &mut workspace).unwrap();
        };
        let name = format!("linear/{name}/m{m}_k{k}_n{n}/{}", W::DTYPE);
        if streamed {
            let bytes = (n * k * W::DTYPE.size()) as f64;
            self.row(&name, bytes, || self.memory.measure(self.threads), (1e9, "GB/s"), kernel);
        } else {
            self.row(&name, 2.0 * (m * k * n) as f64, || self.fma(), (1e9, "GFLOP/s"), kernel);
        }
    }

    fn in_proj(&self, m: usize) {
        let (k, d) = (768, 1536);
        let weight = values(2 * d * k, 1);
        let weight = self.cpu.pack(Rows::new(&weight[..], 2 * d, k).unwrap()).unwrap();
        let input = values(m * k, 2);
        let (mut x, mut z) = (vec![0.0f32; m * d], vec![0.0f32; m * d]);
        let mut workspace = Workspace::default();
        let work = 2.0 * (m * k * 2 * d) as f64;
        self.row(
            &format!("in_proj/m{m}_k{k}_n{}/f32", 2 * d),
            work,
            || self.fma(),
            (1e9, "GFLOP/s"),
            || {
                let args = InProj::<Cpu, f32> {
                    input: Rows::new(&input[..], m, k).unwrap(),
                    weight: &weight,
                    bias: None,
                    x: Rows::new(&mut x[..], m, d).unwrap(),
                    z: Rows::new(&mut z[..], m, d).unwrap(),
                };
                self.cpu.in_proj(args, &mut workspace).unwrap();
            },
        );
    }

    /// Arrays that take turns, so that each call finds its own in memory and not in a cache; or one that stays in it.
    fn conv(&self, l: usize, d: usize, turns: usize) {
        let (weight, bias) = (values(4 * d, 2), values(d, 3));
        let mut arrays = vec![(values(l * d, 1), vec![0.0f32; l * d]); turns];
        let mut state = vec![0.0f32; 3 * d];
        let batch = Batch::single(l);
        let ceiling = || copy_bandwidth(self.threads, turns * l * d * 4);
        let mut turn = 0;
        self.row(
            &format!("causal_conv1d/l{l}_d{d}_k4/f32"),
            (8 * l * d) as f64,
            ceiling,
            (1e9, "GB/s"),
            || {
                turn = (turn + 1) % turns;
                let (x, y) = &mut arrays[turn];
                let args = CausalConv1d::<Cpu, f32> {
                    input: Rows::new(&x[..], l, d).unwrap(),
                    weight: &weight,
                    bias: Some(&bias),
                    activation: Activation::Silu,
                    batch: &batch,
                    state: Some(&mut state),
                    output: Rows::new(&mut y[..], l, d).unwrap(),
                };
                self.cpu.causal_conv1d(args, &mut Workspace::default()).unwrap();
            },
        );
    }

    fn scan(&self, l: usize, d: usize, n: usize) {
        let (u, delta, z) = (values(l * d, 1), values(l * d, 2), values(l * d, 3));
        let bc = values(l * 2 * n, 4);
        let a: Vec<f32> = (0..n * d).map(|i| -(1.0 + (i / d) as f32)).collect();
        let (skip, bias) = (values(d, 5), values(d, 6));
        let mut state = vec![0.0f32; n * d];
        let mut y = vec![0.0f32; l * d];
        let batch = Batch::single(l);
        let mut workspace = Workspace::default();
        let ceiling = || elementary_rate(self.cpu.isa(), Elementary::Exp, self.threads);
        let work = (l * d * n) as f64;
        self.row(&format!("selective_scan/l{l}_d{d}_n{n}/f32"), work, ceiling, (1e9, "G exp/s"), || {
            let bc = Rows::new(&bc[..], l, 2 * n).unwrap();
            let args = SelectiveScan::<Cpu, f32> {
                u: Rows::new(&u[..], l, d).unwrap(),
                delta: Rows::new(&delta[..], l, d).unwrap(),
                a: &a,
                b: bc.columns(0..n).unwrap(),
                c: bc.columns(n..2 * n).unwrap(),
                n_groups: 1,
                d: Some(&skip),
                z: Some(Rows::new(&z[..], l, d).unwrap()),
                delta_bias: Some(&bias),
                delta_softplus: true,
                batch: &batch,
                state: Some(&mut state),
                output: Rows::new(&mut y[..], l, d).unwrap(),
            };
            self.cpu.selective_scan(args, &mut workspace).unwrap();
        });
    }
}

impl Bench {
    /// Prefill of one prompt to its last logits, and decode of one sequence, of a model of the 130m shape.
    fn model(&self, weights: &[u8], dtype: DType) {
        if !format!("prefill decode {dtype} t{}", self.threads).contains(&self.filter)
            && !self.filter.is_empty()
        {
            return;
        }
        let model = Mamba::from_bytes(self.cpu.clone(), checkpoint::CONFIG, weights).unwrap();
        let mut state = model.new_state(1).unwrap();
        let tokens: Vec<u32> = (0..512).map(|i| i * 97 % 50280).collect();
        let mut scratch = Scratch::with_chunk_tokens(512);
        let batch = Batch::single(512);
        // two operations per weight and token; the head for the last token only
        let (layers, head) = (checkpoint::LAYERS * checkpoint::LAYER_WEIGHTS, checkpoint::HEAD_WEIGHTS);
        let work = 2.0 * (512 * layers + head) as f64;
        self.row(
            &format!("prefill/130m_l512/{dtype}"),
            work,
            || self.fma(),
            (1e9, "GFLOP/s"),
            || {
                model.forward(&tokens, &batch, &mut state, Logits::Last, &mut scratch).unwrap();
            },
        );
        let bytes = ((layers + head) * dtype.size()) as f64;
        let step = Batch::single(1);
        let ceiling = || self.memory.measure(self.threads);
        self.row(&format!("decode/130m/{dtype}"), bytes, ceiling, (1e9, "GB/s"), || {
            model.forward(&[7], &step, &mut state, Logits::Last, &mut scratch).unwrap();
        });
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let most = Cpu::new().threads();
    for threads in [1, most] {
        let cpu = Cpu::builder().threads(threads).build().unwrap();
        let bench = Bench { filter: filter.clone(), threads, cpu, memory: ReadBandwidth::new() };
        for m in [512, 2048, 8, 64] {
            bench.in_proj(m);
        }
        bench.linear::<f32>("out_proj", (512, 1536, 768), false);
        bench.linear::<f32>("x_proj", (512, 1536, 80), false);
        bench.linear::<f32>("dt_proj", (512, 48, 1536), false);
        bench.linear::<f32>("lm_head", (512, 768, 50280), false);
        bench.linear::<f32>("lm_head", (1, 768, 50280), true);
        bench.linear::<bf16>("lm_head", (1, 768, 50280), true);
        bench.linear::<f16>("lm_head", (1, 768, 50280), true);
        bench.linear::<f32>("in_proj_2.8b", (1, 2560, 10240), true);
        bench.scan(2048, 1536, 16);
        bench.scan(64, 256, 16);
        bench.scan(64, 256, 64);
        bench.conv(2048, 1536, 8);
        bench.conv(64, 256, 1);
        bench.model(&checkpoint::random::<f32>(), DType::F32);
        bench.model(&checkpoint::random::<bf16>(), DType::BF16);
        if most == 1 {
            break;
        }
    }
}
