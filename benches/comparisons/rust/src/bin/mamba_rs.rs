//! mamba-rs' backbone. Embedding and head are left out, in its favour: the backbone's calls take and give rows.

use mamba_kernels_peers::{Work, arguments, check_tokens, prompt, serve};
use mamba_rs::MambaBackbone;
use std::rc::Rc;

fn main() {
    let (threads, folder) = arguments();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let loaded = mamba_rs::hf::load_mamba(folder.as_ref()).unwrap();
    let (d, embed) = (768usize, Rc::new(loaded.embed));
    let mut backbone = MambaBackbone::new(loaded.weights, loaded.cfg, d).unwrap();
    backbone.pack_for_decode();
    let backbone = Rc::new(backbone);
    let rows = {
        let embed = embed.clone();
        move |tokens: &[u32]| -> Vec<f32> {
            tokens.iter().flat_map(|&token| embed[token as usize * d..][..d].to_vec()).collect()
        }
    };
    let sequence = {
        let (backbone, mut scratch) = (backbone.clone(), backbone.alloc_scratch());
        move |input: &[f32]| -> Vec<f32> {
            let (mut state, mut output) = (backbone.alloc_state(), vec![0.0; input.len()]);
            backbone.forward_sequence(input, &mut output, &mut state, &mut scratch, input.len() / d);
            output
        }
    };
    let (mut prefill, mut last) = (sequence, {
        let (backbone, mut scratch) = (backbone.clone(), backbone.alloc_scratch());
        move |input: &[f32]| -> Vec<f32> {
            let (mut state, mut output) = (backbone.alloc_state(), vec![0.0; d]);
            for row in input.chunks(d) {
                backbone.forward_step(row, &mut output, &mut state, &mut scratch);
            }
            output
        }
    });
    let (prompt_512, prompt_32, check) = (rows(&prompt(512)), rows(&prompt(32)), rows(&check_tokens()));
    let hidden = last(&check);
    // the head, for the comparison alone
    let logits: Vec<f32> = (0..16).map(|i| (0..d).map(|k| embed[i * d + k] * hidden[k]).sum()).collect();
    let work: Vec<Work> = vec![
        ("prefill".into(), Box::new(move || _ = prefill(&prompt_512)), 512.0),
        ("decode".into(), Box::new(move || _ = last(&prompt_32)), 32.0),
    ];
    serve("mamba-rs 0.8.2, gemm-blas, without head", work, move || Some(logits.clone()));
}
