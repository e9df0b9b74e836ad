//! This crate's model and candle's own in turns, with the same random f32 weights of the shape of mamba-130m.
//!
//! `cargo bench --bench mamba -- [LAYERS] [PROMPT]`; by default 24 layers and 64 tokens.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::mamba as theirs;
use mamba_kernels::Cpu;
use mamba_kernels_candle as ours;
use std::collections::HashMap;
use std::time::Instant;

const D_MODEL: usize = 768;
const VOCAB: usize = 50_280;
const DECODED: usize = 16;
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let mut sizes = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (layers, prompt) = (sizes.next().unwrap_or(24), sizes.next().unwrap_or(64).max(1));
    let device = Device::Cpu;
    let vb = VarBuilder::from_tensors(weights(layers)?, DType::F32, &device);
    let (d_model, n_layer, vocab_size, pad_vocab_size_multiple) = (D_MODEL, layers, VOCAB, 8);
    let their_config = theirs::Config { d_model, n_layer, vocab_size, pad_vocab_size_multiple };
    let our_config = ours::Config { d_model, n_layer, vocab_size, pad_vocab_size_multiple };
    let their_model = theirs::Model::new(&their_config, vb.clone())?;
    let our_model = ours::Mamba::new(&our_config, vb)?;
    println!("{layers} layers of d_model {D_MODEL}, vocabulary {VOCAB}, f32; {}", Cpu::new().description());

    let tokens: Vec<u32> = (0..prompt + DECODED).map(|i| (i * 7919 % VOCAB) as u32).collect();
    let row = Tensor::from_slice(&tokens[..prompt], (1, prompt), &device)?;
    let single: Vec<Tensor> =
        tokens.iter().map(|&token| Tensor::new(&[token], &device)).collect::<Result<_>>()?;
    let mut seconds = [[0.0f64; ROUNDS]; 4]; // prompt and decode of candle, then ours
    #[allow(clippy::needless_range_loop, reason = "it is an index of four arrays")]
    for round in 0..ROUNDS {
        let mut state = theirs::State::new(1, &their_config, DType::F32, &device)?;
        let steps = |from: &[Tensor], state: &mut theirs::State| {
            from.iter().try_fold(None, |_, token| their_model.forward(token, state).map(Some))
        };
        let expected = timed(&mut seconds[0][round], || steps(&single[..prompt], &mut state))?;
        timed(&mut seconds[1][round], || steps(&single[prompt..], &mut state))?;

        let mut state = ours::State::new(1, &our_config, DType::F32, &device)?;
        let found = timed(&mut seconds[2][round], || our_model.forward_prompt(&row, &mut state))?;
        timed(&mut seconds[3][round], || {
            single[prompt..].iter().try_for_each(|token| our_model.forward(token, &mut state).map(drop))
        })?;
        let expected = expected.expect("the prompt has a token");
        let largest = |tensor: Tensor| tensor.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
        let apart = largest((&found - &expected)?)? / largest(expected)?;
        assert!(apart < 1e-3, "the logits differ by {apart:e} of the largest");
    }
    println!("{:<24}{:>14}{:>14}{:>9}", "tokens/s, median of 3", "candle 0.11", "this crate", "ratio");
    for (name, count, theirs, ours) in [("prompt", prompt, 0, 2), ("decode", DECODED, 1, 3)] {
        let rate = |row: &[f64; ROUNDS]| {
            let mut sorted = *row;
            sorted.sort_by(f64::total_cmp);
            count as f64 / sorted[ROUNDS / 2]
        };
        let (theirs, ours) = (rate(&seconds[theirs]), rate(&seconds[ours]));
        println!("{:<24}{theirs:>14.1}{ours:>14.1}{:>9.1}", format!("{name}, {count} tokens"), ours / theirs);
    }
    Ok(())
}

fn timed<T>(seconds: &mut f64, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = run();
    *seconds = start.elapsed().as_secs_f64();
    result
}

fn weights(layers: usize) -> Result<HashMap<String, Tensor>> {
    let (d_inner, d_state, dt_rank, device) = (2 * D_MODEL, 16, D_MODEL / 16, Device::Cpu);
    let mut seed = 1u32;
    let mut draw = |shape: &[usize], scale: f32, mean: f32| {
        let values = (0..shape.iter().product::<usize>()).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            mean + scale * ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0)
        });
        Tensor::from_vec(values.collect::<Vec<_>>(), shape, &device)
    };
    let linear = |inputs: usize| 1.0 / (inputs as f32).sqrt();
    let mut tensors = HashMap::new();
    tensors.insert("embedding.weight".to_string(), draw(&[VOCAB, D_MODEL], 0.05, 0.0)?);
    tensors.insert("norm_f.weight".to_string(), draw(&[D_MODEL], 0.2, 1.0)?);
    for layer in 0..layers {
        let mut insert = |name: &str, tensor| tensors.insert(format!("layers.{layer}.{name}"), tensor);
        insert("norm.weight", draw(&[D_MODEL], 0.2, 1.0)?);
        insert("mixer.in_proj.weight", draw(&[2 * d_inner, D_MODEL], linear(D_MODEL), 0.0)?);
        insert("mixer.conv1d.weight", draw(&[d_inner, 1, 4], 0.5, 0.0)?);
        insert("mixer.conv1d.bias", draw(&[d_inner], 0.2, 0.0)?);
        insert("mixer.x_proj.weight", draw(&[dt_rank + 2 * d_state, d_inner], linear(d_inner), 0.0)?);
        insert("mixer.dt_proj.weight", draw(&[d_inner, dt_rank], linear(dt_rank), 0.0)?);
        insert("mixer.dt_proj.bias", draw(&[d_inner], 1.0, -3.0)?);
        insert("mixer.A_log", draw(&[d_inner, d_state], 1.3, 1.4)?);
        insert("mixer.D", draw(&[d_inner], 0.3, 1.0)?);
        insert("mixer.out_proj.weight", draw(&[D_MODEL, d_inner], linear(d_inner), 0.0)?);
    }
    Ok(tensors)
}
