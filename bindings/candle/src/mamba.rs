//! The Mamba model of candle-transformers, on this crate's kernels.

use crate::backend::TensorBackend;
use crate::error::{OrCandle, argument, candle_error};
use crate::var_builder::Variables;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use mamba_kernels::model::{self, Logits, Scratch};
use mamba_kernels::{Batch, Cpu, Error, Slot};
use std::fmt;

/// The configuration that `candle_transformers::models::mamba` reads, with the same names.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Config {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Tokens in the vocabulary, padding not included.
    pub vocab_size: usize,
    /// The vocabulary is padded to a multiple of this.
    pub pad_vocab_size_multiple: usize,
}

impl Config {
    /// The configuration as mamba-kernels has it. The other settings are those of the original checkpoints.
    ///
    /// # Errors
    /// If `pad_vocab_size_multiple` is 0, or a size does not fit in memory.
    pub fn to_model(&self) -> Result<model::Config> {
        let Self { d_model, n_layer, vocab_size, pad_vocab_size_multiple } = *self;
        let json = serde_json::json!({
            "d_model": d_model, "n_layer": n_layer, "vocab_size": vocab_size,
            "pad_vocab_size_multiple": pad_vocab_size_multiple, "ssm_cfg": {},
            "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true,
        });
        model::Config::from_json(&json.to_string()).or_candle()
    }
}

/// The recurrent state of a batch of sequences, in the place of candle's `State`.
pub struct State<O: TensorBackend = Cpu> {
    state: model::State<O::Backend>,
    scratch: Scratch<O::Backend>,
    /// How many tokens each sequence has seen.
    pub pos: usize,
}

impl<O: TensorBackend> fmt::Debug for State<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sequences, pos) = (self.state.slots(), self.pos);
        f.debug_struct("State").field("sequences", &sequences).field("pos", &pos).finish_non_exhaustive()
    }
}

impl State {
    /// The start of `batch_size` sequences. `dtype` is ignored: the state is f32, as [`model::State`] is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a device other than the CPU; [`Error::OutOfMemory`].
    pub fn new(batch_size: usize, config: &Config, dtype: DType, device: &Device) -> Result<Self> {
        let _ = dtype;
        expect_cpu(device)?;
        Self::with_config(batch_size, &config.to_model()?)
    }

    /// The start of `batch_size` sequences of a model with any configuration.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn with_config(batch_size: usize, config: &model::Config) -> Result<Self> {
        Self::on(&Cpu::new(), batch_size, config)
    }
}

impl<O: TensorBackend> State<O> {
    /// The start of `batch_size` sequences, in the memory of the model's backend.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn on(backend: &O, batch_size: usize, config: &model::Config) -> Result<Self> {
        let state = model::State::new(backend.backend(), config, batch_size).or_candle()?;
        Ok(Self { state, scratch: Scratch::default(), pos: 0 })
    }
}

/// Token ids of any integer type, none of which may be negative or too large for one.
fn token_ids(input_ids: &Tensor) -> Result<Vec<u32>> {
    let ids = input_ids.flatten_all()?;
    match ids.dtype() {
        DType::U8 | DType::U32 => ids.to_dtype(DType::U32)?.to_vec1(),
        DType::I16 | DType::I32 | DType::I64 => {
            let ids = ids.to_dtype(DType::I64)?.to_vec1::<i64>()?;
            let id = |id| u32::try_from(id).map_err(|_| argument("forward", "input_ids", "token ids", id));
            ids.into_iter().map(id).collect()
        }
        other => Err(argument("forward", "input_ids", "an integer type", other.as_str())),
    }
}

fn expect_cpu(device: &Device) -> Result<()> {
    if device.is_cpu() {
        return Ok(());
    }
    let backend = if device.is_cuda() { "cuda" } else { "metal" };
    let reason =
        "a model on a GPU takes its backend by `Mamba::with_config`, and its state by `State::on`".into();
    Err(candle_error(Error::Unavailable { backend: backend.into(), reason }))
}

/// A Mamba language model, in the place of `candle_transformers::models::mamba::Model`.
///
/// It takes the same `VarBuilder`, tokens and configuration and gives the same logits up to rounding. Matrices keep the
/// `VarBuilder`'s type; vectors, activations and states are f32.
#[derive(Debug)]
pub struct Mamba<O: TensorBackend = Cpu> {
    backend: O,
    model: model::Mamba<O::Backend>,
    dtype: DType,
}

impl Mamba {
    /// Loads the weights from a `VarBuilder` positioned at `backbone`, for all CPUs that this process may use. An untied
    /// head is beside that: `lm_head.weight` at the root, if the position is `backbone` or the root itself.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape; [`Error::Unavailable`] for a device other than the CPU.
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> Result<Self> {
        expect_cpu(vb.device())?;
        Self::with_config(Cpu::new(), config.to_model()?, vb)
    }
}

impl<O: TensorBackend> Mamba<O> {
    /// Loads a model of any configuration, on a backend that the caller has chosen. The `VarBuilder` may be on any device.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn with_config(backend: O, config: model::Config, vb: VarBuilder<'_>) -> Result<Self> {
        let dtype = vb.dtype();
        let model =
            model::Mamba::from_source(backend.backend().clone(), config, &Variables::new(vb)).or_candle()?;
        Ok(Self { backend, model, dtype })
    }

    /// One token of each sequence, `[batch]`, to the logits of the next, `[batch, vocab]`.
    ///
    /// # Errors
    /// If the tokens are not `[batch]` with the batch size of the state, not of an integer type, or not in the vocabulary.
    pub fn forward(&self, input_ids: &Tensor, state: &mut State<O>) -> Result<Tensor> {
        let batch = input_ids.dims1()?;
        self.run(input_ids, batch, 1, state)
    }

    /// Any number of tokens of each sequence, `[batch, tokens]`, to the logits after the last, `[batch, vocab]`.
    ///
    /// The result has the bits of as many calls of [`Mamba::forward`], at the speed of matrix products.
    ///
    /// # Errors
    /// As [`Mamba::forward`].
    pub fn forward_prompt(&self, input_ids: &Tensor, state: &mut State<O>) -> Result<Tensor> {
        let (batch, tokens) = input_ids.dims2()?;
        self.run(input_ids, batch, tokens, state)
    }

    fn run(&self, input_ids: &Tensor, batch: usize, tokens: usize, state: &mut State<O>) -> Result<Tensor> {
        if batch != state.state.slots() {
            let expected = format!("{} sequences, as the state has", state.state.slots());
            return Err(argument("forward", "input_ids", expected, batch));
        }
        let ids = token_ids(input_ids)?;
        let sequences = match tokens {
            1 => Batch::decode(&(0..batch as u32).map(Slot::new).collect::<Vec<_>>()),
            _ => Batch::from_lengths(&vec![tokens; batch]),
        };
        let sequences = sequences.or_candle()?;
        let logits = self.model.forward(&ids, &sequences, &mut state.state, Logits::Last, &mut state.scratch);
        let logits = logits.or_candle()?;
        state.pos += tokens;
        let vocab = self.model.config().vocab_size;
        Tensor::from_vec(logits, (batch, vocab), &self.backend.device())?.to_dtype(self.dtype)
    }

    /// The type of the matrices and of the logits.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The underlying model, for ragged batches, saved and copied states, and all logits.
    pub fn model(&self) -> &model::Mamba<O::Backend> {
        &self.model
    }
}
