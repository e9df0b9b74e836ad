//! mamba-rs with its embedding and its head, as `MambaLM` runs them, and without sampling, which no other peer does.

use mamba_kernels_peers::{Work, arguments, check_tokens, prompt, serve, version_of};
use mamba_rs::hf::embed::{embed_lookup, lm_head_logits};
use mamba_rs::{MambaBackbone, MambaScratch, MambaState};
use std::cell::RefCell;
use std::rc::Rc;

struct Model {
    backbone: MambaBackbone,
    state: MambaState,
    scratch: MambaScratch,
    embed: Vec<f32>,
    d: usize,
    vocab: usize,
    hidden: Vec<f32>,
    outputs: Vec<f32>,
    logits: Vec<f32>,
    head: Vec<f32>,
}

impl Model {
    fn load(folder: &str) -> Self {
        let loaded = mamba_rs::hf::load_mamba(folder.as_ref()).unwrap();
        assert!(loaded.lm_head.is_none(), "the head is the embedding");
        let (d, vocab, embed) = (loaded.cfg.d_model, loaded.vocab_size, loaded.embed);
        let mut backbone = MambaBackbone::new(loaded.weights, loaded.cfg, d).unwrap();
        backbone.pack_for_decode();
        let (state, scratch) = (backbone.alloc_state(), backbone.alloc_scratch());
        let (logits, head) = (vec![0.0; vocab], vec![0.0; embed.len() / d]);
        Self {
            backbone,
            state,
            scratch,
            embed,
            d,
            vocab,
            hidden: vec![0.0; d],
            outputs: Vec::new(),
            logits,
            head,
        }
    }

    fn head(&mut self) {
        let padded = self.head.len();
        lm_head_logits(
            &mut self.logits,
            &self.hidden,
            &self.embed,
            self.vocab,
            padded,
            self.d,
            &mut self.head,
        );
    }

    /// The logits after a prompt, in one call.
    fn prefill(&mut self, tokens: &[u32]) {
        self.state.reset();
        let row = |&token: &u32| embed_lookup(&self.embed, token, self.d, self.vocab).to_vec();
        let inputs: Vec<f32> = tokens.iter().flat_map(row).collect();
        self.outputs.resize(inputs.len(), 0.0);
        let (state, scratch) = (&mut self.state, &mut self.scratch);
        self.backbone.forward_sequence(&inputs, &mut self.outputs, state, scratch, tokens.len());
        self.hidden.copy_from_slice(&self.outputs[inputs.len() - self.d..]);
        self.head();
    }

    /// The logits after each token, one at a time.
    fn decode(&mut self, tokens: &[u32]) {
        self.state.reset();
        for &token in tokens {
            let row = embed_lookup(&self.embed, token, self.d, self.vocab);
            self.backbone.forward_step(row, &mut self.hidden, &mut self.state, &mut self.scratch);
            self.head();
        }
    }
}

fn main() {
    let (threads, folder) = arguments();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let model = Rc::new(RefCell::new(Model::load(&folder)));
    let (prefill, decode) = (model.clone(), model.clone());
    let work: Vec<Work> = vec![
        ("prefill".into(), Box::new(move || prefill.borrow_mut().prefill(&prompt(512))), 512.0),
        ("decode".into(), Box::new(move || decode.borrow_mut().decode(&prompt(32))), 32.0),
    ];
    let version = format!("{}, gemm-blas, with its head", version_of("mamba-rs"));
    serve(&version, work, move || {
        let mut model = model.borrow_mut();
        model.decode(&check_tokens());
        Some(model.logits[..16].to_vec())
    });
}
