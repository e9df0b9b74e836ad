//! The inexact modes of the CPU: within their bounds, and the same bits on every instruction set.

use crate::harness::arrays::Device;
use crate::harness::case::Case;
use crate::harness::error_analysis::Approx;
use crate::harness::random::Flavour;
use crate::ops::InProj;
use crate::ops::linear::{self, Linear};
use crate::ops::selective_scan::{self, SelectiveScan};
use crate::properties::every_op;
use mamba_kernels::cpu::{CpuBuilder, Isa, ScanOrder};
use mamba_kernels::{Backend, Batch, Cpu, Rows, WeightFormat, ops};
use std::num::NonZeroUsize;

/// An op that has an inexact mode.
pub trait Inexact: Case {
    /// As [`Case::bounds`], with the arithmetic of the mode.
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>>;
}

impl Inexact for Linear {
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>> {
        vec![linear::error_analysis::linear_bf16_dot(self)]
    }
}

impl Inexact for InProj {
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>> {
        self.halves().iter().map(linear::error_analysis::linear_bf16_dot).collect()
    }
}

/// Tokens of a chunk: several chunks in most cases.
const CHUNK: NonZeroUsize = NonZeroUsize::new(7).unwrap();

impl Inexact for SelectiveScan {
    fn bounds_of_mode(&self) -> Vec<Vec<Approx>> {
        selective_scan::error_analysis::selective_scan_in_chunks(self, CHUNK.get())
    }
}

/// The backend that is made with all inexact modes.
pub fn inexact(cpu: CpuBuilder) -> Device<Cpu> {
    let cpu = cpu.scan_order(ScanOrder::Chunked { tokens: CHUNK }).build().unwrap();
    Device::new(cpu).with_format(WeightFormat::Bf16Pairs)
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
    every_op::bits_of::<B, C>(devices, &inexact(Cpu::builder().isa(Isa::Portable).threads(1)));
}

/// A chunk that is longer than every sequence changes no bit.
pub fn a_long_chunk_gives_the_exact_bits(devices: &[Device<Cpu>]) {
    let isa = devices[0].backend.isa();
    let exact = Device::new(Cpu::builder().isa(isa).threads(2).build().unwrap());
    let order = ScanOrder::Chunked { tokens: NonZeroUsize::new(1 << 20).unwrap() };
    let chunked = Device::new(Cpu::builder().isa(isa).scan_order(order).build().unwrap());
    every_op::bits_of::<_, SelectiveScan>(&[exact], &chunked);
}

/// A state that a chunk multiplies by more than the largest number: zero stays zero, a small one grows as token by token.
pub fn growing_states_are_those_of_the_sequential_scan(devices: &[Device<Cpu>]) {
    // three chunks: the middle one is a factor, and the first has a delta of 0
    const CHUNK: usize = 64;
    const TOKENS: usize = 2 * CHUNK + 5;
    // a, delta, the state at the start. Multiplied by 2^46, 2^138, 2^277 and 2^462 in the middle chunk.
    let cases = [
        (0.5f32, 1.0f32, 1e-30f32),
        (1.5, 1.0, 0.0),
        (1.5, 1.0, 1e-30),
        (-1.5, -1.0, -1e-30),
        (-3.0, -1.0, 0.0),
        (3.0, 1.0, f32::MIN_POSITIVE),
        (5.0, 1.0, 0.0),
        (5.0, 1.0, -1e-30),
    ];
    let order = ScanOrder::Chunked { tokens: NonZeroUsize::new(CHUNK).unwrap() };
    let cpu = Cpu::builder().isa(devices[0].backend.isa()).scan_order(order).build().unwrap();
    for (a, delta, start) in cases {
        let growth = (f64::from(a * delta) * (TOKENS - CHUNK) as f64).exp();
        let expected = f64::from((f64::from(start) * growth) as f32);
        let (u, one, mut deltas) = ([0.0f32; 3 * TOKENS], [1.0f32; TOKENS], [delta; 3 * TOKENS]);
        deltas[..3 * CHUNK].fill(0.0);
        let (mut state, mut output) = ([start; 3], [7.0f32; 3 * TOKENS]);
        let args = ops::SelectiveScan::<Cpu, f32> {
            u: Rows::new(&u[..], TOKENS, 3).unwrap(),
            delta: Rows::new(&deltas[..], TOKENS, 3).unwrap(),
            a: &[a; 3],
            b: Rows::new(&one[..], TOKENS, 1).unwrap(),
            c: Rows::new(&one[..], TOKENS, 1).unwrap(),
            n_groups: 1,
            d: None,
            z: None,
            delta_bias: None,
            delta_softplus: false,
            batch: &Batch::single(TOKENS),
            state: Some(&mut state),
            output: Rows::new(&mut output[..], TOKENS, 3).unwrap(),
        };
        cpu.selective_scan(args, &mut Default::default()).unwrap();
        for found in state.into_iter().chain(output[3 * TOKENS - 3..].iter().copied()).map(f64::from) {
            // each token's decay is off by some units in the last place
            let close = found == expected || (found - expected).abs() <= 1e-4 * expected.abs();
            assert!(close, "a = {a}, delta = {delta}, from {start}: {found}, not {expected}");
        }
    }
}

pub fn linear_takes_its_arithmetic_from_the_weight(devices: &[Device<Cpu>]) {
    takes_its_arithmetic_from_the_weight::<Linear>(devices);
}

pub fn in_proj_takes_its_arithmetic_from_the_weight(devices: &[Device<Cpu>]) {
    takes_its_arithmetic_from_the_weight::<InProj>(devices);
}

/// Exact weights and bf16 pairs side by side on one backend: each product has the bits of its own format.
fn takes_its_arithmetic_from_the_weight<C: Inexact>(devices: &[Device<Cpu>]) {
    let pairs = &devices[devices.len() - 1];
    let exact = Device::new(pairs.backend.clone());
    for spec in C::large() {
        let case = C::of(&spec, Flavour::Plain);
        let results = [(&exact, case.bounds()), (pairs, case.bounds_of_mode()), (&exact, case.bounds())];
        for (device, stated) in results {
            every_op::has_stated_bits(&case.run(device), &stated).unwrap();
        }
    }
}
