//! Logits, hidden states and final states against the golden data in f64.

use crate::support::{Expected, FOLDERS, for_backends, load};
use crate::tolerance::{Roundings, assert_close};
use mamba_kernels::model::{Forward, Logits, Scratch, Stage};
use mamba_kernels::{Backend, Batch};

/// Every array of every folder, in segments that cut the sequences.
fn logits_hidden_and_states<B: Backend>(make: impl Fn() -> B) {
    for folder in FOLDERS {
        let model = load(make(), folder);
        let expected = Expected::of(folder);
        let (config, backend) = (model.config(), model.backend());
        let batch = Batch::from_lengths(&vec![expected.length; expected.sequences]).unwrap();
        let mut state = model.new_state(expected.sequences).unwrap();
        let mut hidden = vec![vec![0.0; expected.tokens.len() * config.d_model]; config.n_layer + 2];
        let mut observe = |stage, row, values: &[f32]| {
            let i = match stage {
                Stage::Residual(layer) => layer,
                _ => config.n_layer + 1,
            };
            hidden[i][row * config.d_model..][..values.len()].copy_from_slice(values);
        };
        let mut scratch = Scratch::with_segment_tokens(16);
        let (tokens, logits) = (&expected.tokens, Logits::All);
        let call = Forward { tokens, batch: &batch, logits, observer: Some(&mut observe) };
        let logits = model.run(call, &mut state, &mut scratch).unwrap();

        let roundings = Roundings { name: backend.name(), config, length: expected.length };
        let check = |name: &str, count: usize, found: &[f32], expected: &[f64]| {
            assert_close(&format!("{folder} {name}"), count, found, expected);
        };
        check("logits", roundings.logits(), &logits, &expected.f64("logits_f64"));
        let (residuals, normed) = hidden.split_at(config.n_layer + 1);
        check("normed", roundings.normed(), &normed[0], &expected.f64("normed_f64"));
        for (i, residual) in residuals.iter().enumerate() {
            let name = format!("hidden_f64.{i}");
            check(&name, roundings.hidden(i), residual, &expected.f64(&name));
        }
        for i in 0..config.n_layer {
            let name = format!("ssm_state_f64.{i}");
            let ssm = state.ssm_state(backend, i).unwrap();
            check(&name, roundings.ssm_state(i), &ssm, &expected.f64(&name));
            let name = format!("conv_state_f64.{i}");
            let mut inputs = expected.f64(&name); // [sequences, d_inner, d_conv]; the oldest is not kept
            inputs.chunks_exact_mut(config.d_conv).for_each(|inputs| inputs[0] = 0.0);
            let conv = state.conv_state(backend, i).unwrap();
            check(&name, roundings.conv_state(i), &conv, &inputs);
        }
    }
}

/// The rows of `Logits::Last` are those of `Logits::All`, and the state does not depend on which are returned.
fn last_logits_are_those_of_all<B: Backend>(make: impl Fn() -> B) {
    let model = load(make(), "hf_tied_n16_k4");
    let tokens = &Expected::of("hf_tied_n16_k4").tokens;
    let vocab = model.config().vocab_size;
    for lengths in [vec![46], vec![5, 17, 0, 23, 1], vec![10, 10, 10, 10], vec![0, 0], vec![2, 0]] {
        let batch = Batch::from_lengths(&lengths).unwrap();
        let tokens = &tokens[..batch.tokens()];
        let run = |logits| {
            let mut state = model.new_state(lengths.len()).unwrap();
            let out = model.forward(tokens, &batch, &mut state, logits, &mut Scratch::default()).unwrap();
            (out, state.ssm_state(model.backend(), 1).unwrap())
        };
        let (all, state) = run(Logits::All);
        let (last, state_last) = run(Logits::Last);
        let (none, state_none) = run(Logits::None);
        assert!(none.is_empty() && state == state_last && state == state_none);
        assert_eq!((all.len(), last.len()), (tokens.len() * vocab, lengths.len() * vocab));
        for ((rows, _), last) in batch.sequences().zip(last.chunks_exact(vocab)) {
            match rows.is_empty() {
                true => assert!(last.iter().all(|&logit| logit == 0.0)),
                false => assert_eq!(last, &all[(rows.end - 1) * vocab..rows.end * vocab]),
            }
        }
    }
}

for_backends!(logits_hidden_and_states, last_logits_are_those_of_all);
