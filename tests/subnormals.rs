//! No instruction of a kernel meets a subnormal number, on which many CPUs take a hundred times as long: x86's own
//! flags say so, which stay set once an operation had a subnormal operand or made a subnormal result.
//!
//! What is left out, since no op of the crate makes such numbers: subnormal inputs of the convolution, of RMSNorm, and
//! of `delta` and `z` in the scan.
#![cfg(target_arch = "x86_64")]

#[path = "../benches/pathologies/calls.rs"]
mod calls;

use calls::{Run, SCAN, ScanValues, Values, conv, linear, norm, ordinary, scan};
use mamba_kernels::cpu::Isa;
use mamba_kernels::ops::Epilogue;
use mamba_kernels::{Cpu, WeightFormat};
use std::arch::asm;

/// The exceptions "denormal operand" and "underflow" of MXCSR.
const SUBNORMAL: u32 = 1 << 1 | 1 << 4;

fn flags() -> u32 {
    let mut register = 0u32;
    // SAFETY: stores the register to this number, and changes nothing else.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut register, options(nostack)) };
    register
}

/// Whether an operation on this thread meets a subnormal number.
fn meets(mut run: impl FnMut()) -> bool {
    let cleared = flags() & !0x3f;
    // SAFETY: clears the sticky flags and keeps modes and masks.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &cleared, options(nostack)) };
    run();
    flags() & SUBNORMAL != 0
}

/// The instruction sets of this machine, on the calling thread.
fn cpus() -> Vec<Cpu> {
    let cpus = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    cpus.into_iter().filter_map(|isa| Cpu::builder().isa(isa).threads(1).build().ok()).collect()
}

#[test]
fn products() {
    let cases: [(&str, Values, Values); 6] = [
        ("ordinary", ordinary, ordinary),
        ("inputs of 1e-40", |_| 1e-40, ordinary),
        ("a tenth of the inputs 1e-40", |i| if i % 10 == 0 { -1e-40 } else { ordinary(i) }, ordinary),
        ("weights of 1e-40", ordinary, |_| 1e-40),
        ("both of 1e-20", |_| 1e-20, |_| 1e-20),
        ("inputs of 1e-38", |_| 1e-38, |i| 0.1 * ordinary(i)),
    ];
    for cpu in cpus() {
        for (name, input, weight) in cases {
            for tokens in [1, 2, 9] {
                for format in [WeightFormat::F32, WeightFormat::Bf16] {
                    let run = linear(&cpu, (tokens, 70, 50), input, weight, Epilogue::Softplus, format);
                    assert!(!meets(run), "{}, {name}, {tokens} tokens, {format}", cpu.isa());
                }
            }
        }
    }
}

#[test]
fn scans() {
    let ordinary_scan = ScanValues { d: Some(ordinary), restart: false, ..SCAN };
    let cases = [
        ("ordinary", ordinary_scan),
        ("a decay that is subnormal", ScanValues { delta: |_| 90.0, a: |_| -1.0, ..ordinary_scan }),
        ("a decay of 0", ScanValues { delta: |_| 200.0, a: |_| -1.0, ..ordinary_scan }),
        ("silence after sound", ScanValues { u: |_| 0.0, delta: |_| 1.0, a: |_| -2.0, ..ordinary_scan }),
        ("silence", ScanValues { u: |_| 0.0, state: |_| 0.0, ..ordinary_scan }),
        ("u of 1e-40", ScanValues { u: |_| 1e-40, state: |_| 0.0, ..ordinary_scan }),
        ("B and C of 1e-40", ScanValues { bc: |_| -1e-40, state: |_| 0.0, ..ordinary_scan }),
        ("raw delta of -95", ScanValues { delta: |_| -95.0, softplus: true, ..ordinary_scan }),
        ("raw delta of 90", ScanValues { delta: |_| 90.0, softplus: true, ..ordinary_scan }),
    ];
    // the first call finds small states, and makes them 0
    let kept = ScanValues { u: |_| 0.0, delta: |_| 0.0, state: |_| 1e-40, ..ordinary_scan };
    // channels beyond a vector
    let run = |cpu: &Cpu, d_state, values| scan(cpu, [70, 37, d_state], values);
    for cpu in cpus() {
        for d_state in [1, 3, 16, 21] {
            let isa = cpu.isa();
            for (name, values) in cases {
                assert!(!meets(run(&cpu, d_state, values)), "{isa}, {name}, d_state {d_state}");
            }
            let mut kept: Run = run(&cpu, d_state, kept);
            kept();
            assert!(!meets(kept), "{isa}, a state of 1e-40 that is kept, d_state {d_state}");
        }
    }
}

#[test]
fn convolutions_and_norms() {
    let shape = [9, 70];
    for cpu in cpus() {
        for input in [ordinary, |_| 90.0, |_| -95.0, |_| -110.0, |_| 1e-20] as [Values; 5] {
            assert!(!meets(conv(&cpu, shape, input)), "{}", cpu.isa());
        }
        for input in [ordinary, |_| 1e-20, |_| 0.0] as [Values; 3] {
            assert!(!meets(norm(&cpu, shape, input)), "{}", cpu.isa());
        }
    }
}

/// The flags see what they must, in a kernel too.
#[test]
fn a_subnormal_number_is_seen() {
    for cpu in cpus() {
        assert!(meets(conv(&cpu, [9, 70], |_| 1e-40)), "{}", cpu.isa());
    }
    let factor = std::hint::black_box(1e-20f32);
    let multiply = |other: f32| meets(|| _ = std::hint::black_box(factor * other));
    assert!(multiply(factor));
    assert!(!multiply(2.0));
}
