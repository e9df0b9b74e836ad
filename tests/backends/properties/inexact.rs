//! The inexact modes of the CPU: within their bounds, and the same bits on every instruction set.

use crate::harness::arrays::Device;
use crate::harness::case::Case;
use crate::harness::error_analysis::Approx;
use crate::harness::random::Flavour;
use crate::ops::InProj;
use crate::ops::linear::{self, Linear};
use crate::ops::selective_scan::{self, SelectiveScan};
use crate::properties::every_op::{self, refused};
use mamba_kernels::cpu::{CpuBuilder, Isa, Products, ScanOrder};
use mamba_kernels::{Backend, Cpu};
use std::num::NonZeroUsize;

/// An op that has an inexact mode.
pub trait Inexact: Case {
    /// Chooses the mode.
    fn choose(cpu: CpuBuilder) -> CpuBuilder;
    /// As [`Case::bounds`], with the arithmetic of the mode.
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>>;
}

impl Inexact for Linear {
    fn choose(cpu: CpuBuilder) -> CpuBuilder {
        cpu.products(Products::Bf16Dot)
    }
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>> {
        vec![linear::error_analysis::linear_bf16_dot(self)]
    }
}

impl Inexact for InProj {
    fn choose(cpu: CpuBuilder) -> CpuBuilder {
        cpu.products(Products::Bf16Dot)
    }
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>> {
        self.halves().iter().map(linear::error_analysis::linear_bf16_dot).collect()
    }
}

/// Tokens of a chunk: several chunks in most cases.
const CHUNK: NonZeroUsize = NonZeroUsize::new(7).unwrap();

impl Inexact for SelectiveScan {
    fn choose(cpu: CpuBuilder) -> CpuBuilder {
        cpu.scan_order(ScanOrder::Chunked { tokens: CHUNK })
    }
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>> {
        selective_scan::error_analysis::selective_scan_in_chunks(self, CHUNK.get())
    }
}

/// Within the derived bounds of the oracle, which computes with the numbers as they were.
pub fn equals_reference<B: Backend, C: Inexact>(devices: &[Device<B>]) {
    every_op::within_bounds(devices, C::bounds_of_mode);
}

/// The bits of the mode's operations, computed one at a time.
pub fn equals_stated_bits<B: Backend, C: Inexact>(devices: &[Device<B>]) {
    every_op::stated_bits(devices, C::bounds_of_mode);
}

/// The bits of the portable instruction set on one thread, at any number of threads.
pub fn equals_portable_bits<B: Backend, C: Inexact>(devices: &[Device<B>]) {
    every_op::bits_of::<B, C>(devices, C::choose(Cpu::builder().isa(Isa::Portable).threads(1)));
}

/// A chunk that is longer than every sequence changes no bit.
pub fn a_long_chunk_gives_the_exact_bits(devices: &[Device<Cpu>]) {
    let isa = devices[0].backend.isa();
    let exact = Device::new(Cpu::builder().isa(isa).threads(2).build().unwrap());
    let order = ScanOrder::Chunked { tokens: NonZeroUsize::new(1 << 20).unwrap() };
    every_op::bits_of::<_, SelectiveScan>(&[exact], Cpu::builder().isa(isa).scan_order(order));
}

pub fn linear_refuses_weights_of_the_other_mode(devices: &[Device<Cpu>]) {
    refuses_weights_of_the_other_mode::<Linear>(devices);
}

pub fn in_proj_refuses_weights_of_the_other_mode(devices: &[Device<Cpu>]) {
    refuses_weights_of_the_other_mode::<InProj>(devices);
}

/// Weights of one mode are an error in the other, both ways: no mode is silent.
fn refuses_weights_of_the_other_mode<C: Case>(devices: &[Device<Cpu>]) {
    let fast = &devices[0];
    let exact = Device::new(Cpu::builder().isa(fast.backend.isa()).threads(1).build().unwrap());
    let case = C::of(&C::complete(), Flavour::Plain);
    refused(&case, fast, &exact.backend, "weight", "exact weights");
    refused(&case, &exact, &fast.backend, "weight", "bf16 weights");
}
