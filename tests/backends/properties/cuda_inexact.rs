//! The inexact forms of the CUDA backend: within bounds of their own, and the bits of the exact form
//! if they do not apply.

use crate::harness::arrays::{Check, Device};
use crate::harness::case::Case;
use crate::harness::error_analysis::Approx;
use crate::harness::random::Flavour;
use crate::ops::InProj;
use crate::ops::linear::{self, Linear};
use crate::ops::selective_scan::{self, SelectiveScan};
use crate::properties::every_op::{ends, for_cases, mixed};
use mamba_kernels::cpu::{CpuBuilder, Isa, ScanOrder};
use mamba_kernels::{Cpu, Cuda, DType, Reference};
use std::num::NonZeroUsize;

/// Rows up to which a product takes the exact form.
const FEW: usize = 8;

/// Rows of a chunk of the scan.
const CHUNK: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// Each element is as near to the exact value as its bound says, once that is rounded to the storage type.
pub fn within<C: Case>(device: &Device<Cuda>, case: &C, bounds: &[Vec<Approx>], largest: &mut f64) -> Check {
    let (found, oracle) = (case.run(device), case.run(&Device::new(Reference)));
    for (((name, found), (_, oracle)), bounds) in found.arrays().zip(oracle.arrays()).zip(bounds) {
        for (i, bound) in bounds.iter().enumerate() {
            let (value, oracle) = (f64::from(found.values[i]), f64::from(oracle.values[i]));
            let (off, allowed) = ((value - oracle).abs(), bound.allowed(found.dtype, oracle));
            let (row, col) = (i / found.cols, i % found.cols);
            if off > allowed || value.is_nan() {
                let what = format!("{name}[{row}, {col}]: {value:e}, oracle {oracle:e}, {allowed:e} allowed");
                return Err(proptest::test_runner::TestCaseError::fail(what));
            }
            if bound.error > 0.0 && found.dtype == DType::F32 {
                *largest = largest.max((value - bound.value).abs() / bound.error);
            }
        }
    }
    Ok(())
}

/// The bits of a CPU backend on the portable path.
fn bits_of<C: Case>(device: &Device<Cuda>, case: &C, choose: impl Fn(CpuBuilder) -> CpuBuilder) -> Check {
    let cpu = choose(Cpu::builder().isa(Isa::Portable).threads(1)).build().unwrap();
    case.run(device).same_bits(&case.run(&Device::new(cpu)), "against portable")
}

/// Runs drawn and large cases; at least one must be of the inexact form.
fn check_all<C: Case>(
    device: &Device<Cuda>,
    applies: impl Fn(&C) -> bool,
    bounds: impl Fn(&C) -> Vec<Vec<Approx>>,
    more: Vec<C::Spec>,
) {
    let (largest, count) = (std::cell::Cell::new(0.0), std::cell::Cell::new(0));
    let check = |case: &C| {
        if !applies(case) {
            return bits_of(device, case, |cpu| cpu);
        }
        count.set(count.get() + 1);
        let mut near = largest.get();
        let result = within(device, case, &bounds(case), &mut near);
        largest.set(near);
        result
    };
    more.iter().for_each(|spec| check(&C::of(spec, Flavour::Plain)).unwrap());
    for_cases(|_| Flavour::Plain, |case: &C, _| check(case));
    println!("{}, inexact: {} cases, largest error / bound {:.3}", C::NAME, count.get(), largest.get());
    assert!(count.get() > 0, "no case of the inexact form");
}

fn narrow(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

pub fn linear_is_within_its_bound(devices: &[Device<Cuda>]) {
    let applies = |case: &Linear| narrow(case.weight.dtype) && case.input.rows > FEW && case.input.cols > 0;
    let bounds = |case: &Linear| vec![linear::error_analysis::linear_on_tensor_cores(case)];
    check_all(ends(devices)[1], applies, bounds, Linear::large());
}

pub fn in_proj_is_within_its_bound(devices: &[Device<Cuda>]) {
    let applies = |case: &InProj| narrow(case.weight.dtype) && case.input.rows > FEW && case.input.cols > 0;
    let bounds =
        |case: &InProj| case.halves().iter().map(linear::error_analysis::linear_on_tensor_cores).collect();
    let narrow = InProj::dense_spec((20, 40, 33), (DType::F32, DType::BF16));
    let more = InProj::large().into_iter().chain([narrow]).collect();
    check_all(ends(devices)[1], applies, bounds, more);
}

pub fn scan_is_within_its_bound(devices: &[Device<Cuda>]) {
    let applies = |case: &SelectiveScan| case.sequences.lengths.iter().any(|&length| length > CHUNK.get());
    let bounds =
        |case: &SelectiveScan| selective_scan::error_analysis::selective_scan_in_chunks(case, CHUNK.get());
    check_all(ends(devices)[1], applies, bounds, selective_scan::long());
}

/// The scan that is parallel over time has the bits of the CPU's scan in chunks of as many tokens.
pub fn scan_equals_chunks_of_the_cpu(devices: &[Device<Cuda>]) {
    let order = ScanOrder::Chunked { tokens: CHUNK };
    let check = |case: &SelectiveScan| bits_of(ends(devices)[1], case, |cpu| cpu.scan_order(order));
    for spec in selective_scan::long() {
        check(&SelectiveScan::of(&spec, Flavour::Plain)).unwrap();
        check(&SelectiveScan::of(&spec, Flavour::Special)).unwrap();
    }
    for_cases(mixed, |case: &SelectiveScan, _| check(case));
}
