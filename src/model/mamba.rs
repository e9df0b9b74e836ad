//! [`Mamba`]: a model's weights on a backend.
#![forbid(unsafe_code)]

use crate::arrays::WeightFormat;
use crate::backend::Backend;
use crate::model::block::Block;
use crate::model::checkpoint::Source;
use crate::model::checkpoint::index::WeightFiles;
use crate::model::checkpoint::mapped::FileAccess;
use crate::model::checkpoint::safetensors::Checkpoint;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::files;
use crate::model::generate::defaults::GenerationConfig;
use crate::model::note::Note;
use crate::model::state::State;
use crate::model::vocabulary::Vocabulary;
use std::fmt;
use std::path::Path;

/// A Mamba language model: embedding, layers, final norm and head.
///
/// Matrices stay in the type that the checkpoint stores them in, `f32`, `f16` or `bf16`; everything else is `f32`,
/// and so are the activations. A model is never written to after loading: threads may share it, each with a
/// [`State`] and a [`Scratch`](super::Scratch) of its own.
pub struct Mamba<B: Backend> {
    pub(super) backend: B,
    pub(super) config: Config,
    pub(super) vocabulary: Vocabulary<B>,
    pub(super) blocks: Vec<Block<B>>,
    pub(super) norm_f: B::Buffer<f32>, // [d_model]
    generation: GenerationConfig,
    notes: Vec<Note>,
}

/// The formats of a model's matrices. Without one, a matrix keeps the type that the checkpoint stores it in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightFormats {
    /// Of the matrices in the layers.
    pub blocks: Option<WeightFormat>,
    /// Of the embedding and the head.
    pub head: Option<WeightFormat>,
}

impl WeightFormats {
    /// One format for all matrices.
    pub const fn all(format: WeightFormat) -> Self {
        Self { blocks: Some(format), head: Some(format) }
    }
}

/// How [`Mamba::load_with`] loads a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The formats of the matrices.
    pub formats: WeightFormats,
    /// How the weight files get into memory.
    pub access: FileAccess,
}

impl<B: Backend> Mamba<B> {
    /// Loads a checkpoint's directory: `config.json`, `generation_config.json` if it exists, and `model.safetensors` or
    /// else the shards that `model.safetensors.index.json` names.
    ///
    /// Both published forms are read, that of transformers and that of state-spaces. A tensor comes from the shard in
    /// which the index says it is. In the place of `backbone.`, the names may begin with nothing or with something
    /// else, such as `model.`. The weight files are mapped while this runs: they must not be changed during the call. See
    /// [`FileAccess`] for what happens if they are, and [`Mamba::load_with`] to read them instead.
    ///
    /// # Errors
    /// [`ModelError`] names the file, key or tensor that is missing or damaged, or whose shape does not fit the
    /// configuration. Files must be regular. JSON files have at most 16 MiB and 262144 keys and values; the header of a
    /// weight file has at most 16 MiB, 65536 tensors of 16 dimensions, and 65536 entries of metadata.
    pub fn load(backend: B, dir: &Path) -> Result<Self, ModelError> {
        Self::load_as(backend, dir, WeightFormats::default())
    }

    /// [`Mamba::load`] with matrices in formats of the caller's choice.
    ///
    /// # Errors
    /// As [`Mamba::load`]; [`ModelError::Kernel`] if the backend does not have a format.
    pub fn load_as(backend: B, dir: &Path, formats: WeightFormats) -> Result<Self, ModelError> {
        Self::load_with(backend, dir, LoadOptions { formats, ..LoadOptions::default() })
    }

    /// [`Mamba::load`] with a choice of the matrices' formats and of how files are read.
    ///
    /// # Errors
    /// As [`Mamba::load_as`].
    pub fn load_with(backend: B, dir: &Path, options: LoadOptions) -> Result<Self, ModelError> {
        let path = dir.join("config.json");
        let Some(text) = files::read_json(&path)? else {
            return Err(files::absent(&path));
        };
        let config = Config::parse(&text, &path.display().to_string())?;
        let path = dir.join("generation_config.json");
        let generation = match files::read_json(&path)? {
            Some(text) => GenerationConfig::parse(&text, &path.display().to_string())?,
            None => GenerationConfig::default(),
        };
        let WeightFiles { files, index } = WeightFiles::open(dir, options.access)?;
        let files = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]));
        let checkpoint = Checkpoint::new(files, index.as_ref())?;
        let model = Self::from_source_as(backend, config, &checkpoint, options.formats)?;
        Ok(Self { generation, ..model })
    }

    /// Loads a checkpoint from the text of its `config.json` and the bytes of its `model.safetensors`.
    ///
    /// # Errors
    /// As [`Mamba::load`].
    pub fn from_bytes(backend: B, config_json: &str, safetensors: &[u8]) -> Result<Self, ModelError> {
        Self::from_bytes_as(backend, config_json, safetensors, WeightFormats::default())
    }

    /// [`Mamba::from_bytes`] with matrices in formats of the caller's choice.
    ///
    /// # Errors
    /// As [`Mamba::load_as`].
    pub fn from_bytes_as(
        backend: B,
        config_json: &str,
        safetensors: &[u8],
        formats: WeightFormats,
    ) -> Result<Self, ModelError> {
        let config = Config::from_json(config_json)?;
        let checkpoint = Checkpoint::new([("model.safetensors", safetensors)].into_iter(), None)?;
        Self::from_source_as(backend, config, &checkpoint, formats)
    }

    /// The small trained model that ships with this crate: its tokens are bytes.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if there is not enough memory.
    #[cfg(feature = "demo")]
    pub fn demo(backend: B) -> Result<Self, ModelError> {
        Self::demo_as(backend, WeightFormats::default())
    }

    /// [`Mamba::demo`] with matrices in formats of the caller's choice.
    ///
    /// # Errors
    /// As [`Mamba::load_as`].
    #[cfg(feature = "demo")]
    pub fn demo_as(backend: B, formats: WeightFormats) -> Result<Self, ModelError> {
        let config = include_str!("../../assets/demo/config.json");
        Self::from_bytes_as(backend, config, include_bytes!("../../assets/demo/model.safetensors"), formats)
    }

    /// Loads the weights of a model of this configuration from any [`Source`].
    ///
    /// # Errors
    /// [`ModelError::Config`] if a size is zero or too large, and those of `source`.
    pub fn from_source(backend: B, config: Config, source: &impl Source) -> Result<Self, ModelError> {
        Self::from_source_as(backend, config, source, WeightFormats::default())
    }

    /// [`Mamba::from_source`] with matrices in formats of the caller's choice.
    ///
    /// # Errors
    /// As [`Mamba::from_source`]; [`ModelError::Kernel`] if the backend does not have a format.
    pub fn from_source_as(
        backend: B,
        config: Config,
        source: &impl Source,
        formats: WeightFormats,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let mut notes = Vec::new();
        let vocabulary = Vocabulary::load(&backend, &config, source, formats.head, &mut notes)?;
        let norm_f = source.vector(&backend, "backbone.norm_f.weight", config.d_model)?;
        let blocks =
            (0..config.n_layer).map(|layer| Block::load(&backend, &config, source, layer, formats.blocks));
        let blocks = blocks.collect::<Result<_, _>>()?;
        let generation = GenerationConfig::default();
        Ok(Self { backend, config, vocabulary, blocks, norm_f, generation, notes })
    }

    /// The sizes and options of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the checkpoint's `generation_config.json` says. Nothing if the model was not loaded from a directory or the
    /// file does not exist.
    pub fn generation_config(&self) -> &GenerationConfig {
        &self.generation
    }

    /// The tokens that end a text: those of `generation_config.json`, or of `config.json` if that names none. None if
    /// neither names any.
    pub fn eos_token_ids(&self) -> &[u32] {
        match &self.generation.eos_token_ids[..] {
            [] => &self.config.eos_token_ids,
            ids => ids,
        }
    }

    /// What a user may want to know of how the model was loaded, such as a head that is used though the configuration
    /// says otherwise. Usually empty.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The backend that the model runs on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// A state with `slots` slots, each at the start of a sequence.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if there is not enough memory.
    pub fn new_state(&self, slots: usize) -> Result<State<B>, ModelError> {
        State::new(&self.backend, &self.config, slots)
    }
}

impl<B: Backend> fmt::Debug for Mamba<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mamba")
            .field("backend", &self.backend.name())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
