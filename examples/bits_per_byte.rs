//! How the inexact modes of the CPU change the bits per byte of the demo model on its held-out text, read as one sequence.
//!
//! `cargo run --release --features demo --example bits_per_byte`

use mamba_kernels::cpu::ScanOrder;
use mamba_kernels::model::{Logits, Mamba, ModelError, Scratch, WeightFormats};
use mamba_kernels::{Batch, Cpu, WeightFormat};
use std::num::NonZeroUsize;

/// Bytes of text per call, whose logits are in memory at the same time.
const CALL: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = include_bytes!("../assets/demo/held_out.txt").to_vec();
    let chunked = |tokens| ScanOrder::Chunked { tokens: NonZeroUsize::new(tokens).expect("not zero") };
    let stored = WeightFormats::default();
    let modes = [
        ("exact", stored, ScanOrder::Sequential),
        ("bf16 dot products", WeightFormats::all(WeightFormat::Bf16Pairs), ScanOrder::Sequential),
        ("scan in chunks of 64 tokens", stored, chunked(64)),
    ];
    for (name, formats, order) in modes {
        let model = Mamba::demo_as(Cpu::builder().scan_order(order).build()?, formats)?;
        println!("{name}: {:.6} bits per byte of {} bytes", bits_per_byte(&model, &text)?, text.len());
    }
    Ok(())
}

/// The mean of `-log2 p(byte | the bytes before it)` over all bytes except the first.
fn bits_per_byte(model: &Mamba<Cpu>, text: &[u8]) -> Result<f64, ModelError> {
    let vocab = model.config().vocab_size;
    let tokens: Vec<u32> = text.iter().map(|&byte| byte.into()).collect();
    let mut state = model.new_state(1)?;
    let mut scratch = Scratch::default();
    let mut bits = 0.0;
    for start in (0..tokens.len() - 1).step_by(CALL) {
        let end = (start + CALL).min(tokens.len() - 1);
        let batch = Batch::single(end - start);
        let logits = model.forward(&tokens[start..end], &batch, &mut state, Logits::All, &mut scratch)?;
        for (row, &next) in logits.chunks(vocab).zip(&tokens[start + 1..]) {
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            bits += sum.log2() - f64::from(row[next as usize]) / std::f64::consts::LN_2;
        }
    }
    Ok(bits / (tokens.len() - 1) as f64)
}
