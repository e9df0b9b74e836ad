//! A whole model with random weights: its bits against the CPU, and its speed.

use crate::harness::arrays::same_bits;
use crate::random_model::{RandomWeights, config};
use crate::record::Records;
use crate::target::{Shape, Target};
use mamba_kernels::cuda::CudaBuilder;
use mamba_kernels::model::{Logits, Mamba, Scratch, State};
use mamba_kernels::{Backend, Batch, Cpu, Slot};
use serde_json::json;
use std::time::Instant;

/// Numbers of the block of random weights: 64 MiB of bf16.
const BLOCK: usize = 32 << 20;

fn weights(target: &Target) -> RandomWeights {
    RandomWeights::new(target.pick(BLOCK, 1 << 16))
}

fn tokens(shape: &Shape, count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729 + i * i % 977) % shape.vocab) as u32).collect()
}

/// What a model computes: logits of each call, and its states in the end.
struct Run {
    logits: Vec<(String, Vec<f32>)>,
    states: Vec<Vec<f32>>,
}

impl Run {
    /// Logits and states of another run have these bits.
    fn assert_same(&self, found: &Run, shape: &Shape, what: &str) {
        for ((name, found), (_, expected)) in found.logits.iter().zip(&self.logits) {
            assert!(
                found.iter().all(|logit| logit.is_finite()),
                "{what}, {name}: logits that are no numbers"
            );
            same_bits(found, expected, shape.vocab, &format!("{what}, logits of {name}"))
                .unwrap_or_else(|error| panic!("{error}"));
        }
        for (layer, (found, expected)) in found.states.iter().zip(&self.states).enumerate() {
            same_bits(found, expected, shape.d_inner, &format!("{what}, states of layer {layer}"))
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A prompt into slot 0, its state copied to all slots, then decode steps of one sequence and of all.
fn run<B: Backend>(model: &Mamba<B>, shape: &Shape, sizes: &Sizes, segment: Option<usize>) -> Run {
    let mut scratch = segment.map_or_else(Scratch::default, Scratch::with_segment_tokens);
    let mut state = model.new_state(sizes.slots).unwrap();
    let mut logits = Vec::new();
    let prompt = tokens(shape, sizes.prompt, 1);
    let mut call = |what: String, tokens: &[u32], batch: &Batch, state: &mut State<B>| {
        let found = model.forward(tokens, batch, state, Logits::Last, &mut scratch).unwrap();
        logits.push((what, found));
    };
    call("prefill".into(), &prompt, &Batch::single(sizes.prompt), &mut state);
    for slot in 1..sizes.slots {
        state.copy_slot(model.backend(), 0, slot).unwrap();
    }
    for step in 0..sizes.steps {
        let batch = Batch::decode(&[Slot::new(0)]).unwrap();
        call(format!("step {step} of one sequence"), &tokens(shape, 1, step), &batch, &mut state);
    }
    let slots: Vec<Slot> = (0..sizes.slots).map(|slot| Slot::new(slot as u32)).collect();
    let batch = Batch::decode(&slots).unwrap();
    for step in 0..sizes.steps {
        let tokens = tokens(shape, sizes.slots, step + 1000);
        call(format!("step {step} of {} sequences", sizes.slots), &tokens, &batch, &mut state);
    }
    let backend = model.backend();
    let pools = |layer| {
        [state.conv_state(backend, layer).unwrap(), state.ssm_state(backend, layer).unwrap()].concat()
    };
    Run { logits, states: (0..state.layers()).map(pools).collect() }
}

struct Sizes {
    prompt: usize,
    slots: usize,
    steps: usize,
}

/// Logits and states of prefill and decode have the bits of the CPU, whatever the segments.
pub fn bits(target: &Target, shape: &Shape, layers: usize) {
    let shape = Shape { layers, ..*shape };
    let sizes = Sizes { prompt: target.pick(2048, 90), slots: target.pick(64, 3), steps: target.pick(64, 3) };
    let weights = weights(target);
    let cpu = Mamba::from_source(Cpu::new(), config(&shape), &weights).unwrap();
    let expected = run(&cpu, &shape, &sizes, None);
    drop(cpu);
    let model = Mamba::from_source(target.cuda(|builder| builder), config(&shape), &weights).unwrap();
    for segment in [None, Some(target.pick(256, 40))] {
        let found = run(&model, &shape, &sizes, segment);
        let what = segment.map_or("default segments".into(), |tokens| format!("segments of {tokens}"));
        expected.assert_same(&found, &shape, &what);
    }
    target.count(model.backend());
}

/// Times of a prefill and of decode steps, in tokens per second, with the logits read back.
pub fn speed(target: &Target, records: &Records, shape: &Shape, fast: bool) {
    let choose = |builder: CudaBuilder| if fast { builder.tensor_cores().parallel_scan() } else { builder };
    let cuda = target.cuda(choose);
    let model = Mamba::from_source(cuda, config(shape), &weights(target)).unwrap();
    let prompt = target.pick(2048, 40);
    let phases =
        [("prefill", 1, prompt), ("prefill", 8, prompt), ("decode", 1, 1), ("decode", target.pick(64, 3), 1)];
    for (phase, sequences, length) in phases {
        let batch = Batch::from_lengths(&vec![length; sequences]).unwrap();
        let tokens = tokens(shape, batch.tokens(), 3);
        let mut state = model.new_state(sequences).unwrap();
        let mut scratch = Scratch::default();
        let mut call = || {
            let start = Instant::now();
            model.forward(&tokens, &batch, &mut state, Logits::Last, &mut scratch).unwrap();
            start.elapsed().as_secs_f64() * 1e6
        };
        let (warm, runs) = target.pick(if phase == "decode" { (5, 101) } else { (2, 7) }, (1, 1));
        for _ in 0..warm {
            call();
        }
        let us = crate::times::median((0..runs).map(|_| call()).collect());
        records.write(&json!({
            "part": "model", "model": shape.name, "mode": if fast { "fast" } else { "exact" }, "phase": phase,
            "sequences": sequences, "tokens": length, "us": us, "host_us": null,
            "tokens_per_s": batch.tokens() as f64 / us * 1e6,
        }));
    }
}

/// The bits of a model of two layers, with few steps.
pub fn small_bits(target: &Target, shape: &Shape) {
    let sizes = Sizes { prompt: 70, slots: 2, steps: 3 };
    let weights = RandomWeights::new(1 << 14);
    let expected =
        run(&Mamba::from_source(Cpu::new(), config(shape), &weights).unwrap(), shape, &sizes, None);
    let model = Mamba::from_source(target.cuda(|builder| builder), config(shape), &weights).unwrap();
    expected.assert_same(&run(&model, shape, &sizes, None), shape, "a small model");
}
