//! `generation_config.json`: an error, or values that a sampler takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mamba_kernels::model::{GenerationConfig, Sampler, Sampling};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = GenerationConfig::from_json(text) {
        Sampler::new(config.sampling(Sampling::default())).unwrap();
    }
});
