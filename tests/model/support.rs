//! What the tests share: the folders of golden data, their contents, and a macro that runs a test per backend.

use mamba_kernels::Backend;
use mamba_kernels::model::Mamba;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Runs generic test functions `fn test<B: Backend>(make: impl Fn() -> B)` on every backend of the host.
macro_rules! for_backends {
    ($($test:ident),+ $(,)?) => {
        mod reference {
            $(#[test] fn $test() { super::$test(|| mamba_kernels::Reference); })+
        }
        mod cpu {
            $(#[test] fn $test() { super::$test(|| mamba_kernels::Cpu::builder().build().unwrap()); })+
        }
        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test] fn $test() {
                if let Some(cuda) = crate::skip::cuda("cuda", mamba_kernels::Cuda::builder()) {
                    super::$test(|| cuda.clone());
                }
            })+
        }
        #[cfg(feature = "cuda")]
        mod cuda_executor {
            $(#[test] fn $test() {
                let builder = mamba_kernels::Cuda::builder().unchecked_executor();
                if let Some(cuda) = crate::skip::cuda("cuda-executor", builder) {
                    super::$test(|| cuda.clone());
                }
            })+
        }
    };
}
pub(crate) use for_backends;

/// Every folder of golden data.
pub const FOLDERS: [&str; 10] = [
    "hf_tied_n16_k4",
    "hf_bias_untied_n8_k3",
    "hf_odd19_n1_k2",
    "hf_n64_k4",
    "falcon_n16_k4",
    "state_spaces_n16_k4",
    "state_spaces_ssm_cfg_n8_k3",
    "hf_f16_n16_k4",
    "hf_bf16_n16_k4",
    "hf_sharded_n16_k4",
];

pub fn data() -> PathBuf {
    PathBuf::from("tests/data") // from the root of the crate, where cargo runs tests
}

pub fn load<B: Backend>(backend: B, folder: &str) -> Mamba<B> {
    Mamba::load(backend, &data().join(folder)).unwrap()
}

pub const SINGLE: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

/// A copy of a folder of golden data.
pub fn copy_of(folder: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data().join(folder)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

/// The bytes of a weight file with another header.
pub fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    edit(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + length..]].concat()
}

/// The bytes of a weight file with its tensors edited: name, type, shape and bytes.
pub type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;
pub fn with_tensors(bytes: &[u8], edit: impl FnOnce(&mut Tensors)) -> Vec<u8> {
    let parsed = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: Tensors = parsed
        .iter()
        .map(|(name, view)| (name.to_string(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// What a model must compute.
pub struct Expected {
    bytes: Vec<u8>,
    /// `[sequences, length]`
    pub tokens: Vec<u32>,
    pub sequences: usize,
    pub length: usize,
}

impl Expected {
    pub fn of(folder: &str) -> Self {
        let bytes = std::fs::read(data().join(folder).join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor("tokens").unwrap();
        assert_eq!(view.dtype(), Dtype::I64);
        let (tokens, _) = view.data().as_chunks::<8>();
        let tokens = tokens.iter().map(|&token| i64::from_le_bytes(token) as u32).collect();
        let (sequences, length) = (view.shape()[0], view.shape()[1]);
        Self { bytes, tokens, sequences, length }
    }

    /// A tensor that was computed in f64.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F64, "{name}");
        view.data().as_chunks::<8>().0.iter().map(|&value| f64::from_le_bytes(value)).collect()
    }
}
