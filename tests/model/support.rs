//! What the tests share: the folders of golden data, their contents, and a macro that runs a test per backend.

use mamba_kernels::Backend;
use mamba_kernels::model::Mamba;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
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
