//! The typed error of the model wrapper.

use std::path::PathBuf;

/// The error of a library that this crate uses.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong while a checkpoint was read or a model run. `file` is a path, or says that it was bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An op or a backend refused its arguments or ran out of memory.
    #[error(transparent)]
    Kernel(#[from] crate::arrays::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A symbolic link whose target does not exist.
    #[error("{}: a symbolic link to `{}`, which does not exist", file.display(), target.display())]
    DanglingLink {
        /// The link.
        file: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// A file that is longer than a loader reads.
    #[error("{}: longer than the limit of {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// A text that is not JSON, or has not the expected keys.
    #[error("{file}: not the expected JSON: {source}")]
    Json {
        /// The file.
        file: String,
        /// Where and why.
        source: Source,
    },
    /// A configuration value that this crate does not compute.
    #[error("config: `{key}`: expected {expected}, found {found}")]
    Config {
        /// The key in the configuration file.
        key: &'static str,
        /// What can be computed.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A value of a `generation_config.json` that has no meaning.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    Generation {
        /// The file.
        file: String,
        /// The key in it.
        key: String,
        /// What it may be.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A model that is not Mamba-1 or Falcon-Mamba.
    #[error("unknown architecture: {found}; this crate runs `mamba` (Mamba-1) and `falcon_mamba`")]
    UnknownArchitecture {
        /// The key and the value that name the architecture.
        found: String,
    },
    /// A directory without weights of a known form.
    #[error("{}: neither `model.safetensors` nor `model.safetensors.index.json` exists", dir.display())]
    NoWeights {
        /// The directory.
        dir: PathBuf,
    },
    /// A shard that the index names does not exist.
    #[error("{}: the shard `{shard}` that the index names is missing", index.display())]
    MissingShard {
        /// The index file.
        index: PathBuf,
        /// The shard's name in it.
        shard: String,
    },
    /// A shard's name in the index that is not a plain file name next to it.
    #[error("{}: the shard name `{shard}` is not the name of a file next to the index", index.display())]
    ShardOutside {
        /// The index file.
        index: PathBuf,
        /// The shard's name in it.
        shard: String,
    },
    /// A safetensors file whose header is damaged.
    #[error("{file} ({bytes} bytes): not a valid safetensors file: {source}")]
    Format {
        /// The file.
        file: String,
        /// The file's length.
        bytes: usize,
        /// Why.
        source: Source,
    },
    /// A safetensors file whose header has more of something than a loader reads.
    #[error("{file}: the header has more than {limit} {what}")]
    HeaderLimit {
        /// The file.
        file: String,
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// A safetensors file that is shorter or longer than its header says.
    #[error(
        "{file}: expected {expected} bytes by its header, found {found}: the file is truncated or damaged"
    )]
    FileLength {
        /// The file.
        file: String,
        /// The length by the header.
        expected: usize,
        /// The file's length.
        found: usize,
    },
    /// A tensor that the configuration requires does not exist.
    #[error("tensor `{name}` is missing in {files}")]
    MissingTensor {
        /// The tensor's name; both names if it has two.
        name: String,
        /// The file that was searched, or the index of the shards, in which it is not named.
        files: String,
    },
    /// A tensor that is not in the shard in which the index says it is.
    #[error("tensor `{name}` is missing in {file}, where {index} says it is")]
    NotInShard {
        /// The tensor's name.
        name: String,
        /// The shard.
        file: String,
        /// The index.
        index: String,
    },
    /// Files with more than one model, none of which has the names of the published checkpoints.
    #[error("{files}: expected one model, found several: `{}`", found.join("`, `"))]
    AmbiguousNames {
        /// The file, or the index of the shards.
        files: String,
        /// The name of a tensor of each model.
        found: Vec<String>,
    },
    /// A tensor whose shape does not fit the configuration.
    #[error("tensor `{name}` in {file}: expected the shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The file that it is in.
        file: String,
        /// The shape by the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor stored in a type that this crate does not read.
    #[error("tensor `{name}` in {file}: expected the type {expected}, found {found}")]
    TensorType {
        /// The tensor's name.
        name: String,
        /// The file that it is in.
        file: String,
        /// The types that are read.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// Another library failed to hand over a tensor.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// The error of the library.
        source: Source,
    },
    /// A file that is not a saved state, or one of another version.
    #[error("{file}: not a saved state: expected {expected}, found {found}")]
    StateFile {
        /// The file.
        file: String,
        /// What this version of the crate reads.
        expected: String,
        /// What the file's metadata says.
        found: String,
    },
    /// A logit from which no token can be chosen.
    #[error("the logit of token {token} is {value}: the weights or the state contain NaN or infinity")]
    Logit {
        /// The token.
        token: u32,
        /// Its logit: NaN or positive infinity.
        value: f32,
    },
    /// An argument of a call on a model or a state.
    #[error("{call}: argument `{argument}`: expected {expected}, found {found}")]
    Argument {
        /// The function.
        call: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// What the function accepts.
        expected: String,
        /// What was passed.
        found: String,
    },
}

impl ModelError {
    pub(crate) fn argument(
        call: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Argument { call, argument, expected: expected.into(), found: found.into() }
    }
}
