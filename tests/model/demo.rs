//! The model that ships with the crate.

use crate::support::for_backends;
use mamba_kernels::model::{Logits, Mamba, Scratch};
use mamba_kernels::{Backend, Batch};

/// Bytes in, finite logits over bytes out; and it has learnt something: text is likelier than the same bytes reversed.
fn it_reads_bytes<B: Backend>(make: impl Fn() -> B) {
    let model = Mamba::demo(make()).unwrap();
    let vocab = model.config().vocab_size;
    assert!(vocab >= 256);
    let text = b"The king said that the people of the city would not come to the house.";
    let surprise = |bytes: &[u8]| {
        let tokens: Vec<u32> = bytes.iter().map(|&byte| byte.into()).collect();
        let mut state = model.new_state(1).unwrap();
        let batch = Batch::single(tokens.len());
        let logits =
            model.forward(&tokens, &batch, &mut state, Logits::All, &mut Scratch::default()).unwrap();
        let nats = logits.chunks_exact(vocab).zip(&tokens[1..]).map(|(row, &next)| {
            let max = row.iter().fold(f32::NEG_INFINITY, |max, &logit| max.max(logit));
            let sum: f32 = row.iter().map(|&logit| (logit - max).exp()).sum();
            max + sum.ln() - row[next as usize]
        });
        nats.sum::<f32>() / (tokens.len() - 1) as f32
    };
    let reversed: Vec<u8> = text.iter().rev().copied().collect();
    let (forward, backward) = (surprise(text), surprise(&reversed));
    println!("{forward:.2} nats a byte, {backward:.2} reversed");
    assert!(forward.is_finite() && forward + 0.5 < backward, "{forward} nats a byte, {backward} reversed");
}

/// The first 1024 bytes of the held-out text in one pass, against what Hugging Face transformers gives for them.
fn bits_per_byte_are_those_of_transformers<B: Backend>(make: impl Fn() -> B) {
    const TRANSFORMERS: f64 = 1.400645;
    let model = Mamba::demo(make()).unwrap();
    let text = &include_bytes!("../../assets/demo/held_out.txt")[..1024];
    let tokens: Vec<u32> = text.iter().map(|&byte| byte.into()).collect();
    let mut state = model.new_state(1).unwrap();
    let batch = Batch::single(tokens.len());
    let logits = model.forward(&tokens, &batch, &mut state, Logits::All, &mut Scratch::default()).unwrap();
    let bits = logits.chunks_exact(model.config().vocab_size).zip(&tokens[1..]).map(|(row, &next)| {
        let max = row.iter().fold(f32::NEG_INFINITY, |max, &logit| max.max(logit));
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - max).exp()).sum();
        (sum.ln() - f64::from(row[next as usize] - max)) / std::f64::consts::LN_2
    });
    let bits = bits.sum::<f64>() / (tokens.len() - 1) as f64;
    // a relative error of 2^-17 or so in the logits, as in tolerance.rs, is far below one in the last digit
    assert!((bits - TRANSFORMERS).abs() < 1e-5, "{bits} bits per byte");
}

for_backends!(it_reads_bytes, bits_per_byte_are_those_of_transformers);
