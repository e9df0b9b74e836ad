//! The large kernels, compiled once per storage type in this crate: generic code would be compiled again in every crate
//! that calls an op.

use super::causal_conv1d::forward::ConvPart;
use super::selective_scan::ScanPart;
use crate::cpu::machine::isa::Supported;
use half::{bf16, f16};

/// A storage type whose kernels are compiled here.
///
/// # Safety
/// Each method has the conditions of the kernel that it runs.
pub trait Compiled: Sized {
    unsafe fn causal_conv1d(isa: Supported, part: ConvPart<Self>);
    unsafe fn selective_scan(isa: Supported, part: ScanPart<Self>);
}

macro_rules! compiled {
    ($($t:ty),*) => {$(
        impl Compiled for $t {
            #[inline(never)]
            unsafe fn causal_conv1d(isa: Supported, part: ConvPart<Self>) {
                // SAFETY: the caller's promise is the same.
                unsafe { isa.run(part) }
            }
            #[inline(never)]
            unsafe fn selective_scan(isa: Supported, part: ScanPart<Self>) {
                // SAFETY: the caller's promise is the same.
                unsafe { isa.run(part) }
            }
        }
    )*};
}

compiled!(f32, f16, bf16);
