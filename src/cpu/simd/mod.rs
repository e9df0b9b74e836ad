//! Vectors: the trait that kernels are written over, its implementations, and the functions made per instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16_dot;
pub(in crate::cpu) mod dispatch;
mod fused;
mod load_store;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod vector;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Bf16};
pub use bf16_dot::{Bf16Dot, EmulatedBf16Dot};
pub use load_store::{LoadStore, any_subnormal, load, store};
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;
pub use vector::{MAX_LANES, Simd};
