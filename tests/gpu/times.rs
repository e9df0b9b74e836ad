//! The time of every kernel, as the backend launches it: graphs of many launches over rotating buffers of random numbers.
//!
//! A step of the backend is one graph. Two replays follow each other without a gap, and the second is timed by events of
//! the device.

use crate::random_model::{numbers, repeated};
use crate::record::Records;
use crate::target::{D_CONV, D_STATE, Shape, Target};
use mamba_kernels::cuda::cudarc::driver::{CudaContext, CudaEvent, CudaStream, sys};
use mamba_kernels::cuda::{Buffer, CudaBuilder, Weights, Workspace};
use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, InProj, Linear, RmsNorm, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cuda, Error, Result, Rows, bf16};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A backend on a stream with events, and random numbers to fill arrays with.
pub struct Bench<'a> {
    cuda: Cuda,
    stream: Arc<CudaStream>,
    begin: CudaEvent,
    end: CudaEvent,
    random: Vec<f32>,
    target: &'a Target,
    records: &'a Records,
    mode: &'static str,
    /// Each kernel once, outside of a graph and not timed: for a profiler.
    once: bool,
}

/// An op in one set of buffers.
type Op = Box<dyn FnMut(&Cuda, &mut Workspace) -> Result<()>>;

/// What an op is, for its record.
struct Case<'s> {
    op: &'static str,
    shape: &'s Shape,
    tokens: usize,
    sequences: usize,
    types: &'static str,
    bytes: usize,
    flops: f64,
}

impl<'a> Bench<'a> {
    pub fn new(target: &'a Target, records: &'a Records, fast: bool, once: bool) -> Self {
        let choose =
            |builder: CudaBuilder| if fast { builder.tensor_cores().parallel_scan() } else { builder };
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let event = || context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
        let (begin, end) = (event(), event());
        let cuda = choose(Cuda::builder()).build_on_stream(stream.clone()).unwrap();
        let random = numbers(5, target.pick(16 << 20, 1 << 16));
        let mode = if fast { "fast" } else { "exact" };
        Self { cuda, stream, begin, end, random, target, records, mode, once }
    }

    /// `count` random numbers, other ones for each seed.
    fn host(&self, seed: usize, count: usize, scale: f32) -> Vec<f32> {
        repeated(&self.random, seed * 77_777, count).map(|x| x * scale).collect()
    }

    fn array(&self, seed: usize, count: usize, scale: f32) -> Buffer<f32> {
        self.cuda.upload(&self.host(seed, count, scale)).unwrap()
    }

    fn weight(&self, seed: usize, rows: usize, cols: usize) -> Weights {
        let host: Vec<bf16> = self
            .host(seed, rows * cols, (3.0 / cols as f32).sqrt())
            .into_iter()
            .map(bf16::from_f32)
            .collect();
        self.cuda.pack(Rows::new(&host[..], rows, cols).unwrap()).unwrap()
    }

    /// Times an op that moves `case.bytes`, in enough sets of buffers to leave no cache a use.
    fn time(&self, case: &Case<'_>, make: impl Fn(usize) -> Op) {
        const ROTATING: usize = 180 << 20;
        let most = self.target.pick(128, 2);
        let sets = if self.once { 1 } else { (ROTATING / case.bytes.max(1) + 1).clamp(2, most) };
        let mut ops: Vec<Op> = (0..sets).map(make).collect();
        let mut workspace = Workspace::default();
        if self.once {
            return ops.iter_mut().for_each(|op| op(&self.cuda, &mut workspace).unwrap());
        }
        let launches = if self.target.small { sets } else { sets * 20usize.div_ceil(sets) };
        let before = self.cuda.kernels();
        let mut step = || {
            let start = Instant::now();
            let all = |workspace: &mut Workspace| {
                (0..launches).try_for_each(|i| {
                    let index = i % ops.len();
                    ops[index](&self.cuda, workspace)
                })
            };
            self.cuda.step::<Error>(&mut workspace, all).unwrap();
            start.elapsed().as_secs_f64() * 1e6
        };
        step(); // is recorded
        let kernels: Vec<&str> = self
            .cuda
            .kernels()
            .iter()
            .zip(&before)
            .filter_map(|(now, before)| (now.launches > before.launches).then_some(now.name))
            .collect();
        step();
        let mut host = Vec::new();
        let samples = self.target.pick(15, 1);
        let times = (0..samples).map(|_| {
            step(); // keeps the device busy while the next step is prepared
            self.begin.record(&self.stream).unwrap();
            host.push(step());
            self.end.record(&self.stream).unwrap();
            f64::from(self.begin.elapsed_ms(&self.end).unwrap()) * 1e3
        });
        let us = median(times.collect()) / launches as f64;
        let Case { op, shape, tokens, sequences, types, bytes, flops } = *case;
        let mut record = Map::new();
        let mut put = |key: &str, value: Value| record.insert(key.into(), value);
        put("part", json!("time"));
        put("kernel", json!(kernels.join("+")));
        put("op", json!(op));
        put("model", json!(shape.name));
        put("tokens", json!(tokens));
        put("sequences", json!(sequences));
        put("types", json!(types));
        put("mode", json!(self.mode));
        put("us", json!(us));
        put("bytes", json!(bytes));
        put("flops", json!(flops));
        put("launches", json!(launches));
        put("host_us", json!(median(host) / launches as f64));
        put("rotating_bytes", json!(sets * bytes));
        self.records.write(&Value::Object(record));
    }

    fn linear(
        &self,
        shape: &Shape,
        op: &'static str,
        (tokens, sequences): (usize, usize),
        (k, n): (usize, usize),
        epilogue: Epilogue,
    ) {
        let rows = tokens * sequences;
        let (bytes, flops) = (2 * n * k + 4 * rows * (n + k), 2.0 * (rows * n * k) as f64);
        let case = Case { op, shape, tokens, sequences, types: "f32/bf16", bytes, flops };
        self.time(&case, |set| {
            let (input, weight) = (self.array(set, rows * k, 1.0), self.weight(set, n, k));
            let mut output = self.array(set + 1, rows * n, 1.0);
            Box::new(move |cuda, workspace| {
                let args = Linear::<Cuda, f32, f32> {
                    input: Rows::new(cuda.view(&input), rows, k)?,
                    weight: &weight,
                    bias: None,
                    epilogue,
                    output: Rows::new(cuda.view_mut(&mut output), rows, n)?,
                };
                cuda.linear(args, workspace)
            })
        });
    }

    fn in_proj(&self, shape: &Shape, (tokens, sequences): (usize, usize)) {
        let (rows, k, d_inner) = (tokens * sequences, shape.d_model, shape.d_inner);
        let n = 2 * d_inner;
        let (bytes, flops) = (2 * n * k + 4 * rows * (n + k), 2.0 * (rows * n * k) as f64);
        let case = Case { op: "in_proj", shape, tokens, sequences, types: "f32/bf16", bytes, flops };
        self.time(&case, |set| {
            let (input, weight) = (self.array(set, rows * k, 1.0), self.weight(set, n, k));
            let (mut x, mut z) = (self.array(0, rows * d_inner, 1.0), self.array(1, rows * d_inner, 1.0));
            Box::new(move |cuda, workspace| {
                let args = InProj::<Cuda, f32, 2> {
                    input: Rows::new(cuda.view(&input), rows, k)?,
                    weight: &weight,
                    bias: None,
                    outputs: [
                        Rows::new(cuda.view_mut(&mut x), rows, d_inner)?,
                        Rows::new(cuda.view_mut(&mut z), rows, d_inner)?,
                    ],
                };
                cuda.in_proj(args, workspace)
            })
        });
    }

    fn conv(&self, shape: &Shape, (tokens, sequences): (usize, usize)) {
        let (rows, channels) = (tokens * sequences, shape.d_inner);
        let state_len = sequences * (D_CONV - 1) * channels;
        let bytes = 4 * (2 * rows * channels + 2 * state_len + (D_CONV + 1) * channels);
        let flops = (2 * D_CONV * rows * channels) as f64;
        let case = Case { op: "causal_conv1d", shape, tokens, sequences, types: "f32", bytes, flops };
        let batch = Batch::from_lengths(&vec![tokens; sequences]).unwrap();
        self.time(&case, |set| {
            let (batch, input) = (batch.clone(), self.array(set, rows * channels, 1.0));
            let (weight, bias) = (self.array(1, D_CONV * channels, 0.5), self.array(2, channels, 0.5));
            let (mut state, mut output) =
                (self.array(3, state_len, 1.0), self.array(4, rows * channels, 1.0));
            Box::new(move |cuda, workspace| {
                let args = CausalConv1d::<Cuda, f32> {
                    input: Rows::new(cuda.view(&input), rows, channels)?,
                    weight: cuda.view(&weight),
                    bias: Some(cuda.view(&bias)),
                    activation: Activation::Silu,
                    batch: &batch,
                    state: Some(cuda.view_mut(&mut state)),
                    output: Rows::new(cuda.view_mut(&mut output), rows, channels)?,
                };
                cuda.causal_conv1d(args, workspace)
            })
        });
    }

    fn scan(&self, shape: &Shape, (tokens, sequences): (usize, usize)) {
        let (rows, channels) = (tokens * sequences, shape.d_inner);
        let state_len = sequences * D_STATE * channels;
        let bytes = 4 * (4 * rows * channels + 2 * rows * D_STATE + D_STATE * channels + 2 * state_len);
        // per state seven fused multiply-adds and five other operations; softplus and gate take about a hundred
        let flops = ((19 * D_STATE + 100) * rows * channels) as f64;
        let case = Case { op: "selective_scan", shape, tokens, sequences, types: "f32", bytes, flops };
        let batch = Batch::from_lengths(&vec![tokens; sequences]).unwrap();
        self.time(&case, |set| {
            let batch = batch.clone();
            let wide = |seed| self.array(set + seed, rows * channels, 1.0);
            let (u, delta, z, mut output) = (wide(0), wide(1), wide(2), wide(3));
            let bc = self.array(set, rows * 2 * D_STATE, 1.0);
            let a: Vec<f32> = self.host(9, D_STATE * channels, 4.0).into_iter().map(|x| -4.1 - x).collect();
            let a = self.cuda.upload(&a).unwrap();
            let (d, bias) = (self.array(5, channels, 1.0), self.array(6, channels, 1.0));
            let mut state = self.array(7, state_len, 1.0);
            Box::new(move |cuda, workspace| {
                let bc = Rows::new(cuda.view(&bc), rows, 2 * D_STATE)?;
                let args = SelectiveScan::<Cuda, f32> {
                    u: Rows::new(cuda.view(&u), rows, channels)?,
                    delta: Rows::new(cuda.view(&delta), rows, channels)?,
                    a: cuda.view(&a),
                    b: bc.columns(0..D_STATE)?,
                    c: bc.columns(D_STATE..2 * D_STATE)?,
                    n_groups: 1,
                    d: Some(cuda.view(&d)),
                    z: Some(Rows::new(cuda.view(&z), rows, channels)?),
                    delta_bias: Some(cuda.view(&bias)),
                    delta_softplus: true,
                    batch: &batch,
                    state: Some(cuda.view_mut(&mut state)),
                    output: Rows::new(cuda.view_mut(&mut output), rows, channels)?,
                };
                cuda.selective_scan(args, workspace)
            })
        });
    }

    fn norm(&self, shape: &Shape, (tokens, sequences): (usize, usize)) {
        let (rows, channels) = (tokens * sequences, shape.d_model);
        let bytes = 4 * (2 * rows + 1) * channels;
        let flops = (4 * rows * channels) as f64;
        let case = Case { op: "rms_norm", shape, tokens, sequences, types: "f32", bytes, flops };
        self.time(&case, |set| {
            let (input, weight) = (self.array(set, rows * channels, 1.0), self.array(1, channels, 1.0));
            let mut output = self.array(2, rows * channels, 1.0);
            Box::new(move |cuda, workspace| {
                let args = RmsNorm::<Cuda, f32, f32> {
                    input: Rows::new(cuda.view(&input), rows, channels)?,
                    residual: None,
                    weight: Some(cuda.view(&weight)),
                    eps: 1e-5,
                    output: Rows::new(cuda.view_mut(&mut output), rows, channels)?,
                };
                cuda.rms_norm(args, workspace)
            })
        });
    }
}

/// All ops of all models.
pub fn run(target: &Target, records: &Records, fast: bool, once: bool) {
    let bench = Bench::new(target, records, fast, once);
    for shape in target.models() {
        let Shape { d_model, d_inner, dt_rank, vocab, .. } = *shape;
        let (long, many) = (target.pick(2048, 130), target.pick(64, 9));
        for at in [(long, 1), (1, many), (1, 1)] {
            // in the inexact mode few rows take the exact kernels
            if fast && at == (1, 1) {
                continue;
            }
            bench.in_proj(shape, at);
            bench.linear(shape, "x_proj", at, (d_inner, dt_rank + 2 * D_STATE), Epilogue::Store);
            bench.linear(shape, "dt_proj", at, (dt_rank, d_inner), Epilogue::Softplus);
            bench.linear(shape, "out_proj", at, (d_inner, d_model), Epilogue::Residual);
            if at.0 == 1 {
                bench.linear(shape, "lm_head", at, (d_model, vocab), Epilogue::Store);
            }
        }
        for at in [(long, 1), (long, target.pick(8, 2)), (1, many), (1, 1)] {
            if !fast || at.0 > 1 {
                bench.scan(shape, at);
            }
            if !fast {
                bench.conv(shape, at);
                bench.norm(shape, at);
            }
        }
    }
    target.count(&bench.cuda);
}
