//! A model of any size with random weights, which need no more memory than one block.

use crate::target::{D_CONV, D_STATE, Shape};
use mamba_kernels::model::{Config, ModelError, Source};
use mamba_kernels::{Backend, Rows, WeightFormat, bf16};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// Numbers in -1..1, the same for the same seed.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = Pcg64::seed_from_u64(seed);
    (0..count).map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// `count` numbers of a block from a place on, over and over.
pub fn repeated(block: &[f32], first: usize, count: usize) -> impl Iterator<Item = f32> {
    let (before, from) = block.split_at(first % block.len());
    from.iter().chain(before).copied().cycle().take(count)
}

pub fn config(shape: &Shape) -> Config {
    let Shape { d_model, d_inner, dt_rank, layers, vocab, .. } = *shape;
    let json = format!(
        r#"{{"model_type": "mamba", "hidden_size": {d_model}, "num_hidden_layers": {layers}, "vocab_size": {vocab},
            "intermediate_size": {d_inner}, "state_size": {D_STATE}, "conv_kernel": {D_CONV},
            "time_step_rank": {dt_rank}, "use_bias": false, "use_conv_bias": true, "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": true}}"#
    );
    Config::from_json(&json).unwrap()
}

/// Weights in bf16 out of one block of random numbers, from a place that depends on the name. Matrices are scaled so
/// that activations keep their size.
pub struct RandomWeights {
    block: Vec<f32>,
}

impl RandomWeights {
    pub fn new(elements: usize) -> Self {
        Self { block: numbers(11, elements) }
    }

    /// `count` numbers of the block, over and over.
    fn of(&self, name: &str, count: usize) -> impl Iterator<Item = f32> {
        let first = name.bytes().fold(7usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        repeated(&self.block, first, count)
    }
}

impl Source for RandomWeights {
    fn matrix<B: Backend>(
        &self,
        backend: &B,
        names: &[&str],
        [rows, cols]: [usize; 2],
        format: Option<WeightFormat>,
    ) -> Result<B::Weights, ModelError> {
        let scale = (3.0 / cols as f32).sqrt();
        let host: Vec<bf16> = self.of(names[0], rows * cols).map(|x| bf16::from_f32(x * scale)).collect();
        let host = Rows::new(&host[..], rows, cols)?;
        Ok(match format {
            Some(format) => backend.pack_as(host, format)?,
            None => backend.pack(host)?,
        })
    }

    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let numbers = self.of(name, shape.iter().product());
        Ok(match name.rsplit('.').nth(if name.ends_with(".weight") { 1 } else { 0 }) {
            Some("A_log") => numbers.map(|x| 1.0 + x).collect(),
            Some(norm) if norm.contains("norm") => numbers.map(|x| 1.0 + 0.1 * x).collect(),
            _ => numbers.map(|x| 0.3 * x).collect(),
        })
    }
}
