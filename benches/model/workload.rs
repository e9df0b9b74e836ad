//! A model of the shape of mamba-130m with random weights: prefill of one prompt, decode of some sequences.

use super::{Prepared, Work, Workload, values};
use mamba_kernels::model::{Logits, Mamba, Scratch, State};
use mamba_kernels::{Backend, Batch, Cpu, DType, Element, Reference, bf16, f16};
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::cell::OnceCell;
use std::rc::Rc;

/// The sizes of a model; what the others of a block are follows from `d_model`.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub d_model: usize,
    pub layers: usize,
    pub vocab: usize,
}

pub const SHAPE_130M: Sizes = Sizes { d_model: 768, layers: 24, vocab: 50280 };

impl Sizes {
    pub fn config(self) -> String {
        let Self { d_model, layers, vocab } = self;
        format!(
            r#"{{"model_type": "mamba", "hidden_size": {d_model}, "num_hidden_layers": {layers}, "vocab_size": {vocab}}}"#
        )
    }

    fn dt_rank(self) -> usize {
        self.d_model.div_ceil(16)
    }

    /// Of the matrices of all layers: in_proj, x_proj, dt_proj and out_proj.
    pub fn layer_weights(self) -> usize {
        let (d, d_inner, rank) = (self.d_model, 2 * self.d_model, self.dt_rank());
        self.layers * (2 * d_inner * d + (rank + 32) * d_inner + d_inner * rank + d * d_inner)
    }

    pub fn head_weights(self) -> usize {
        self.vocab * self.d_model
    }

    /// The bytes of a safetensors file with random weights.
    pub fn random<T: Element>(self) -> Vec<u8> {
        let (d, d_inner, rank) = (self.d_model, 2 * self.d_model, self.dt_rank());
        let mut tensors = vec![
            ("backbone.embeddings.weight".to_string(), vec![self.vocab, d], 0.02),
            ("backbone.norm_f.weight".to_string(), vec![d], 0.0),
        ];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize], scale: f32| {
                tensors.push((format!("backbone.layers.{layer}.{name}"), shape.to_vec(), scale));
            };
            add("norm.weight", &[d], 0.0);
            add("mixer.in_proj.weight", &[2 * d_inner, d], 0.04);
            add("mixer.conv1d.weight", &[d_inner, 1, 4], 0.3);
            add("mixer.conv1d.bias", &[d_inner], 0.1);
            add("mixer.x_proj.weight", &[rank + 32, d_inner], 0.03);
            add("mixer.dt_proj.weight", &[d_inner, rank], 0.1);
            add("mixer.dt_proj.bias", &[d_inner], 2.0);
            add("mixer.A_log", &[d_inner, 16], 1.0);
            add("mixer.D", &[d_inner], 0.5);
            add("mixer.out_proj.weight", &[d, d_inner], 0.02);
        }
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .enumerate()
            .map(|(i, (_, shape, scale))| {
                let values = values(shape.iter().product(), i as u64 + 1);
                // without a scale: the weight of a norm
                let scaled = values.into_iter().map(|value| if *scale == 0.0 { 1.0 } else { value * scale });
                bytemuck::cast_slice(&scaled.map(T::from_f32).collect::<Vec<T>>()).to_vec()
            })
            .collect();
        let dtype = match T::DTYPE {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        };
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (name, TensorView::new(dtype, shape.clone(), bytes).expect("the shape is that of the bytes"))
        });
        serialize(views, None).expect("every tensor is valid")
    }
}

/// The weights of a model, which its cases share.
pub struct Weights {
    sizes: Sizes,
    dtype: DType,
    bytes: OnceCell<Vec<u8>>,
}

impl Weights {
    pub fn new(sizes: Sizes, dtype: DType) -> Rc<Self> {
        Rc::new(Self { sizes, dtype, bytes: OnceCell::new() })
    }

    pub fn load<B: Backend>(&self, backend: B) -> Mamba<B> {
        let bytes = self.bytes.get_or_init(|| match self.dtype {
            DType::F16 => self.sizes.random::<f16>(),
            DType::BF16 => self.sizes.random::<bf16>(),
            _ => self.sizes.random::<f32>(),
        });
        Mamba::from_bytes(backend, &self.sizes.config(), bytes).unwrap()
    }
}

/// A forward call of `b` sequences of `l` tokens each, to their last logits: prefill, or decode if `l` is 1.
pub struct Forward {
    weights: Rc<Weights>,
    b: usize,
    l: usize,
    /// Of the first tokens.
    oracle: OnceCell<Vec<f32>>,
    /// Of the whole call, by the first instruction set.
    bits: OnceCell<Vec<f32>>,
}

/// Tokens of the prompt that the oracle, which is slow, runs too.
const ORACLE_TOKENS: usize = 4;

impl Forward {
    pub fn new(weights: &Rc<Weights>, [b, l]: [usize; 2]) -> Self {
        Self { weights: weights.clone(), b, l, oracle: OnceCell::new(), bits: OnceCell::new() }
    }

    fn tokens(&self) -> Vec<u32> {
        let vocab = self.weights.sizes.vocab;
        (0..self.b * self.l).map(|i| ((i * 97 + 7) % vocab) as u32).collect()
    }
}

struct On<B: Backend> {
    model: Mamba<B>,
    tokens: Vec<u32>,
    batch: Batch,
    state: State<B>,
    scratch: Scratch<B>,
    logits: Vec<f32>,
}

impl<B: Backend> On<B> {
    /// The logits after a few tokens, the last of them alone as in decode.
    fn oracle_logits(&self) -> Vec<f32> {
        let (mut state, mut scratch) = (self.model.new_state(1).unwrap(), Scratch::default());
        let tokens: Vec<u32> = (0..ORACLE_TOKENS as u32).map(|i| i * 11 + 3).collect();
        let (prompt, last) = tokens.split_at(ORACLE_TOKENS - 1);
        self.model
            .forward(prompt, &Batch::single(prompt.len()), &mut state, Logits::None, &mut scratch)
            .unwrap();
        self.model.forward(last, &Batch::single(1), &mut state, Logits::Last, &mut scratch).unwrap()
    }
}

impl Prepared for On<Cpu> {
    fn run(&mut self) {
        let Self { model, tokens, batch, state, scratch, logits } = self;
        *logits = model.forward(tokens, batch, state, Logits::Last, scratch).unwrap();
    }

    /// What the oracle runs too, then the logits of the call.
    fn outputs(&self) -> Vec<f32> {
        [self.oracle_logits(), self.logits.clone()].concat()
    }
}

impl Workload for Forward {
    fn op(&self) -> &'static str {
        if self.l == 1 { "decode" } else { "prefill" }
    }

    fn shape(&self) -> String {
        let Sizes { d_model, layers, .. } = self.weights.sizes;
        format!("b{}_l{}_d{d_model}_layers{layers}", self.b, self.l)
    }

    fn dtype(&self) -> DType {
        self.weights.dtype
    }

    /// Two operations per weight and token; the head for the last token of each sequence only.
    fn work(&self) -> Work {
        let (layers, head) = (self.weights.sizes.layer_weights(), self.weights.sizes.head_weights());
        let bytes = ((layers + head) * self.weights.dtype.size()) as f64;
        let flops = 2.0 * (self.b * self.l * layers + self.b * head) as f64;
        Work { flops, read: bytes, resident: bytes, ..Work::default() }
    }

    fn place(&self, cpu: &Cpu) -> Box<dyn Prepared> {
        let model = self.weights.load(cpu.clone());
        let state = model.new_state(self.b).unwrap();
        Box::new(On {
            model,
            tokens: self.tokens(),
            batch: Batch::from_lengths(&vec![self.l; self.b]).unwrap(),
            state,
            scratch: Scratch::with_segment_tokens(512),
            logits: Vec::new(),
        })
    }

    /// A few tokens against the oracle; the whole call has the bits of any other instruction set. The oracle's bound
    /// is no derived one: a ten-thousandth of the largest logit, where the roundings of 24 layers give some 1e-6.
    fn check(&self, found: &[f32]) -> Result<(), String> {
        let vocab = self.weights.sizes.vocab;
        let expected = self.oracle.get_or_init(|| {
            let model = self.weights.load(Reference);
            let state = model.new_state(1).unwrap();
            let (batch, scratch) = (Batch::single(1), Scratch::default());
            On { model, tokens: Vec::new(), batch, state, scratch, logits: Vec::new() }.oracle_logits()
        });
        let (few, all) = found.split_at(vocab);
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        super::within(few, DType::F32, |i| (expected[i], 1e-4 * f64::from(largest)))?;
        let bits = self.bits.get_or_init(|| all.to_vec());
        let same =
            all.len() == self.b * vocab && all.iter().zip(bits).all(|(a, b)| a.to_bits() == b.to_bits());
        if same {
            Ok(())
        } else {
            Err("the logits have other bits than those of the first instruction set".into())
        }
    }
}
