//! A decode step is recorded once per shape of batch and replayed: it gives what single launches give.

use crate::support::backends;
use mamba_kernels::model::{GenerateOptions, Generation, Logits, Mamba, Sampler, Sampling, Scratch, State};
use mamba_kernels::{Backend, Batch, Cpu, Slot};
use std::path::Path;

/// Tokens that all of them have.
const VOCAB: u32 = 32;

const FOLDERS: [&str; 3] = ["hf_tied_n16_k4", "falcon_n16_k4", "hf_bf16_n16_k4"];

fn load<B: Backend>(backend: B, folder: &str) -> Mamba<B> {
    let dir = Path::new("tests/data").join(folder);
    Mamba::load(backend, &dir).unwrap()
}

/// The decode steps of a serving loop: the slots that have a token each; batches come, go and come back.
const STEPS: [&[u32]; 9] = [&[0, 1], &[0, 1], &[1, 0], &[2], &[0, 1], &[3], &[1, 2], &[2, 0, 1], &[0, 1]];

/// The logits of all steps and the states after them. `Logits::All` runs the ops one by one, `Logits::Last` as a step.
fn decode<B: Backend>(model: &Mamba<B>, logits: Logits, scratch: &mut Scratch<B>) -> (Vec<u32>, State<B>) {
    let mut state = model.new_state(4).unwrap();
    let prompt = Batch::from_lengths(&[3, 2, 4, 1]).unwrap();
    model.forward(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], &prompt, &mut state, Logits::None, scratch).unwrap();
    let mut out = Vec::new();
    let again = Batch::decode(&[Slot::new(0), Slot::new(1)]).unwrap();
    for (i, slots) in STEPS.iter().enumerate() {
        let tokens: Vec<u32> = slots.iter().map(|slot| (7 * i as u32 + slot) % VOCAB).collect();
        let slots: Vec<Slot> = slots.iter().map(|&slot| Slot::new(slot)).collect();
        let batch = if *STEPS[i] == [0, 1] { again.clone() } else { Batch::decode(&slots).unwrap() };
        out.extend(model.forward(&tokens, &batch, &mut state, logits, scratch).unwrap());
    }
    (out.into_iter().map(f32::to_bits).collect(), state)
}

fn contents<B: Backend>(model: &Mamba<B>, state: &State<B>) -> Vec<Vec<f32>> {
    (0..state.layers()).map(|layer| state.ssm_state(model.backend(), layer).unwrap()).collect()
}

#[test]
fn a_replayed_step_gives_the_logits_of_single_launches() {
    for cuda in backends(|builder| builder) {
        for folder in FOLDERS {
            let (cpu, model) = (load(Cpu::new(), folder), load(cuda.clone(), folder));
            let (expected, expected_state) = decode(&cpu, Logits::All, &mut Scratch::default());
            let mut scratch = Scratch::default();
            for logits in [Logits::All, Logits::Last, Logits::Last] {
                // the second time with a scratch whose graphs are of a state that is gone
                let (found, state) = decode(&model, logits, &mut scratch);
                assert!(found == expected, "{folder}, {logits:?}: logits");
                assert_eq!(contents(&model, &state), contents(&cpu, &expected_state), "{folder}, {logits:?}");
            }
        }
    }
}

/// Padding and sequences without a token, and a batch larger than a chunk.
#[test]
fn steps_of_any_shape() {
    let offsets = [0, 1, 1, 2, 3];
    let slots = [Slot::new(1), Slot::new(0), Slot::PADDING, Slot::new(2)];
    for cuda in backends(|builder| builder) {
        let (cpu, model) = (load(Cpu::new(), FOLDERS[0]), load(cuda, FOLDERS[0]));
        for chunk in [256, 2] {
            let run = |batch: &Batch| {
                let (mut state, mut scratch) =
                    (cpu.new_state(3).unwrap(), Scratch::with_segment_tokens(chunk));
                let expected =
                    cpu.forward(&[1, 2, 3], batch, &mut state, Logits::Last, &mut scratch).unwrap();
                let (mut state, mut scratch) =
                    (model.new_state(3).unwrap(), Scratch::with_segment_tokens(chunk));
                let found = model.forward(&[1, 2, 3], batch, &mut state, Logits::Last, &mut scratch).unwrap();
                assert!(found == expected, "chunks of {chunk}");
            };
            run(&Batch::new(&offsets, &slots).unwrap());
            run(&Batch::decode(&[Slot::new(2), Slot::new(0), Slot::new(1)]).unwrap());
        }
    }
}

/// The tokens that a model adds to a prompt.
fn text<B: Backend>(model: &Mamba<B>, prompt: &[u32], max_tokens: usize) -> Vec<u32> {
    let sampler = Sampler::new(Sampling { seed: 5, ..Sampling::default() }).unwrap();
    let options = GenerateOptions { max_tokens, sampler, ..Default::default() };
    Generation::new(model, prompt, options).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_small_models_write_the_text_of_the_cpu() {
    for cuda in backends(|builder| builder) {
        for folder in FOLDERS {
            let prompt: Vec<u32> = (0..70).map(|i| i * 11 % VOCAB).collect();
            let expected = text(&load(Cpu::new(), folder), &prompt, 30);
            assert_eq!(text(&load(cuda.clone(), folder), &prompt, 30), expected, "{folder}");
        }
    }
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_model_writes_the_text_of_the_cpu() {
    let prompt: Vec<u32> = b"It was a dark".iter().map(|&byte| byte.into()).collect();
    let expected = text(&Mamba::demo(Cpu::new()).unwrap(), &prompt, 12);
    for cuda in backends(|builder| builder) {
        assert_eq!(text(&Mamba::demo(cuda).unwrap(), &prompt, 12), expected);
    }
}
