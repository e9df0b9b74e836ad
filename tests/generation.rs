//! [`Generation`] against the same steps made by hand with `forward`.
#![cfg(feature = "model")]

use mamba_kernels::model::{
    GenerateOptions, Generation, Logits, Mamba, ModelError, Sampler, Sampling, Scratch, State,
};
use mamba_kernels::{Batch, Reference};
use std::path::Path;

#[path = "shared/float_mode.rs"]
mod float_mode;

type Model = Mamba<Reference>;

fn model() -> Model {
    let dir = Path::new("tests/data/hf_tied_n16_k4");
    Mamba::load(Reference, dir).unwrap()
}

const PROMPT: [u32; 5] = [3, 1, 4, 1, 5];

fn options(max_tokens: usize) -> GenerateOptions {
    let sampler = Sampler::new(Sampling { seed: 7, repetition_penalty: 1.2, ..Sampling::default() }).unwrap();
    GenerateOptions { max_tokens, sampler, ..Default::default() }
}

fn tokens(generation: &mut Generation<'_, Reference>) -> Vec<u32> {
    generation.map(Result::unwrap).collect()
}

fn logits_after(model: &Model, state: &mut State<Reference>, tokens: &[u32]) -> Vec<f32> {
    let batch = Batch::single(tokens.len());
    model.forward(tokens, &batch, state, Logits::Last, &mut Scratch::default()).unwrap()
}

#[test]
fn the_steps_are_those_of_forward_and_sampler() {
    let model = model();
    let found = tokens(&mut Generation::new(&model, &PROMPT, options(12)).unwrap());

    let mut sampler = options(12).sampler;
    PROMPT.iter().for_each(|&token| sampler.observe(token));
    let mut state = model.new_state(1).unwrap();
    let mut logits = logits_after(&model, &mut state, &PROMPT);
    let mut expected = Vec::new();
    for _ in 0..12 {
        let token = sampler.sample(&logits).unwrap();
        sampler.observe(token);
        expected.push(token);
        logits = logits_after(&model, &mut state, &[token]);
    }
    assert_eq!(found, expected);
}

#[test]
fn prefill_reports_each_piece_and_changes_nothing() {
    let model = model();
    let prompt: Vec<u32> = (0..600).map(|i| i * 7 % 40).collect();
    let expected = tokens(&mut Generation::new(&model, &prompt, options(5)).unwrap());

    let mut generation = Generation::new(&model, &prompt, options(5)).unwrap();
    let mut reported = Vec::new();
    generation.prefill(|done, total| reported.push((done, total))).unwrap();
    assert_eq!(reported.last(), Some(&(600, 600)));
    assert!(reported.len() > 1 && reported.is_sorted(), "{reported:?}");
    generation.prefill(|_, _| panic!("the prompt has been read")).unwrap();
    assert_eq!(tokens(&mut generation), expected);
}

#[test]
fn a_state_given_back_continues_the_text() {
    let model = model();
    let greedy = |max_tokens| GenerateOptions {
        max_tokens,
        sampler: Sampler::new(Sampling::greedy()).unwrap(),
        ..options(0)
    };
    let whole = tokens(&mut Generation::new(&model, &PROMPT, greedy(8)).unwrap());

    // No tokens: the state of a prefix. Some: that of the prompt and these tokens.
    let state = Generation::new(&model, &PROMPT[..3], greedy(0)).unwrap().into_state().unwrap();
    let mut generation = Generation::with_state(&model, state, &PROMPT[3..], greedy(4)).unwrap();
    assert_eq!(tokens(&mut generation), whole[..4]);
    let state = generation.into_state().unwrap();

    // The same pieces by hand: the reference rounds its state to f32 at the end of each call.
    let mut expected = model.new_state(1).unwrap();
    for piece in [&PROMPT[..3], &PROMPT[3..]].into_iter().chain(whole[..4].chunks(1)) {
        logits_after(&model, &mut expected, piece);
    }
    for layer in 0..model.config().n_layer {
        let ssm = |state: &State<Reference>| state.ssm_state(model.backend(), layer).unwrap();
        assert!(ssm(&state) == ssm(&expected), "layer {layer}");
    }
    let mut generation = Generation::with_state(&model, state, &whole[4..5], greedy(3)).unwrap();
    assert_eq!(tokens(&mut generation), whole[5..8]);
}

#[test]
fn a_stop_token_ends_the_text_and_is_not_yielded() {
    let model = model();
    let whole = tokens(&mut Generation::new(&model, &PROMPT, options(12)).unwrap());
    let stop = whole[6];
    let end = whole.iter().position(|&token| token == stop).unwrap();
    let mut generation =
        Generation::new(&model, &PROMPT, GenerateOptions { stop_tokens: vec![stop], ..options(12) }).unwrap();
    assert_eq!(tokens(&mut generation), whole[..end]);
    assert!(generation.next().is_none());
}

#[test]
fn no_tokens_at_all() {
    let model = model();
    assert!(Generation::new(&model, &PROMPT, options(0)).unwrap().next().is_none());
}

#[test]
fn what_a_generation_refuses() {
    let model = model();
    let refused = |prompt: &[u32]| match Generation::new(&model, prompt, options(1)) {
        Err(ModelError::Argument { argument, .. }) => argument,
        _ => panic!("not refused"),
    };
    assert_eq!(refused(&[]), "prompt");
    assert_eq!(refused(&[1, 40]), "prompt");

    // A state without slots is refused by `forward`, which ends the iterator and leaves no state.
    let state = model.new_state(0).unwrap();
    let mut generation = Generation::with_state(&model, state, &PROMPT, options(3)).unwrap();
    assert!(matches!(generation.next(), Some(Err(ModelError::Argument { .. }))));
    assert!(generation.next().is_none());
    assert!(generation.into_state().is_err());
}

/// A quotient that is a tie with another logit only if it is rounded to nearest.
#[test]
fn the_floating_point_mode_of_the_caller_changes_no_token() {
    let logits = (1..100).map(|i| i as f32 / 100.0);
    let pairs: Vec<(f32, f64)> = logits.map(|logit| (logit, 1.0 / f64::from(logit))).collect();
    let choices = |seen: usize| -> Vec<u32> {
        let choose = |&(logit, penalty): &(f32, f64)| {
            let sampling = Sampling { temperature: 0.0, repetition_penalty: penalty, ..Sampling::default() };
            let mut sampler = Sampler::new(sampling).unwrap();
            sampler.observe(seen as u32);
            let mut logits = [logit; 2];
            logits[seen] = 1.0;
            sampler.sample(&logits).unwrap()
        };
        pairs.iter().map(choose).collect()
    };
    for seen in 0..2 {
        let expected = choices(seen);
        for &mode in float_mode::OTHERS {
            assert_eq!(float_mode::within(mode, || choices(seen)), expected, "{}", mode.0);
        }
    }
}
