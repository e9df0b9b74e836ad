//! candle's Mamba, token by token: it has no other way.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::mamba::{Config, Model, State};
use mamba_kernels_peers::{Work, arguments, check_tokens, prompt, serve, version_of};
use std::rc::Rc;

fn main() {
    let (threads, folder) = arguments();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let config = Config { d_model: 768, n_layer: 24, vocab_size: 50280, pad_vocab_size_multiple: 8 };
    let dtype = if folder.ends_with("bf16") { DType::BF16 } else { DType::F32 };
    let file = format!("{folder}/model.safetensors");
    // SAFETY: nothing changes the file while this runs.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[file], dtype, &Device::Cpu) }.unwrap();
    let weights = weights.rename_f(|name| name.replace("backbone.embedding.", "backbone.embeddings."));
    let model = Rc::new(Model::new(&config, weights.pp("backbone")).unwrap());
    let run = Rc::new(move |tokens: &[u32]| {
        let mut state = State::new(1, &config, dtype, &Device::Cpu).unwrap();
        let mut logits = None;
        for &token in tokens {
            let input = Tensor::new(&[token], &Device::Cpu).unwrap();
            logits = Some(model.forward(&input, &mut state).unwrap());
        }
        let logits = logits.unwrap().to_dtype(DType::F32).unwrap();
        logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    });
    let (prefill, decode) = (run.clone(), run.clone());
    let work: Vec<Work> = vec![
        // each token costs the same, so that 32 stand for 512
        ("prefill".into(), Box::new(move || _ = prefill(&prompt(32))), 32.0),
        ("decode".into(), Box::new(move || _ = decode(&prompt(16))), 16.0),
    ];
    serve(&version_of("candle-transformers"), work, move || Some(run(&check_tokens())[..16].to_vec()));
}
