//! No instruction of a kernel meets a subnormal number, on which many CPUs take a hundred times as long: x86's own
//! flags say so, which stay set once an operation had a subnormal operand or made a subnormal result.
//!
//! What is left out, since no op of the crate makes such numbers: subnormal inputs of the convolution, of RMSNorm, and
//! of `delta` and `z` in the scan.
#![cfg(target_arch = "x86_64")]

use mamba_kernels::cpu::Isa;
use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, Linear, RmsNorm, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cpu, Rows, WeightFormat};
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
fn meets(run: impl FnOnce()) -> bool {
    let cleared = flags() & !0x3f;
    // SAFETY: clears the sticky flags and keeps modes and masks.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &cleared, options(nostack)) };
    run();
    flags() & SUBNORMAL != 0
}

fn ordinary(i: usize) -> f32 {
    let unit = (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 65536.0;
    if i.is_multiple_of(3) { -0.5 - unit } else { 0.5 + unit }
}

type Values = fn(usize) -> f32;

fn list(len: usize, values: Values) -> Vec<f32> {
    (0..len).map(values).collect()
}

/// The instruction sets of this machine, on the calling thread.
fn cpus() -> Vec<Cpu> {
    let cpus = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    cpus.into_iter().filter_map(|isa| Cpu::builder().isa(isa).threads(1).build().ok()).collect()
}

fn linear(cpu: &Cpu, tokens: usize, input: Values, weight: Values, format: WeightFormat) -> bool {
    let (k, n) = (70, 50);
    let (input, weight) = (list(tokens * k, input), list(n * k, weight));
    let weight = cpu.pack_as(Rows::new(&weight[..], n, k).unwrap(), format).unwrap();
    let mut output = vec![0.0f32; tokens * n];
    let args = Linear::<Cpu, f32, f32> {
        input: Rows::new(&input[..], tokens, k).unwrap(),
        weight: &weight,
        bias: None,
        epilogue: Epilogue::Softplus,
        output: Rows::new(&mut output[..], tokens, n).unwrap(),
    };
    meets(|| cpu.linear(args, &mut Default::default()).unwrap())
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
                    let isa = cpu.isa();
                    assert!(
                        !linear(&cpu, tokens, input, weight, format),
                        "{isa}, {name}, {tokens} tokens, {format}"
                    );
                }
            }
        }
    }
}

/// Of a scan with channels beyond a vector; `state` is that before the call. Calls that find small states make them 0.
struct Scan {
    name: &'static str,
    calls: usize,
    u: Values,
    delta: Values,
    softplus: bool,
    a: Values,
    bc: Values,
    state: Values,
}

const SCAN: Scan = Scan {
    name: "ordinary",
    calls: 1,
    u: ordinary,
    delta: |i| 0.02 * ordinary(i).abs(),
    softplus: false,
    a: |i| -ordinary(i).abs(),
    bc: ordinary,
    state: ordinary,
};

#[test]
fn scans() {
    let cases = [
        SCAN,
        Scan { name: "a decay that is subnormal", delta: |_| 90.0, a: |_| -1.0, ..SCAN },
        Scan { name: "a decay of 0", delta: |_| 200.0, a: |_| -1.0, ..SCAN },
        Scan { name: "silence after sound", u: |_| 0.0, delta: |_| 1.0, a: |_| -2.0, ..SCAN },
        Scan { name: "silence", u: |_| 0.0, state: |_| 0.0, ..SCAN },
        Scan {
            name: "a state of 1e-40 that is kept",
            calls: 2,
            u: |_| 0.0,
            delta: |_| 0.0,
            state: |_| 1e-40,
            ..SCAN
        },
        Scan { name: "u of 1e-40", u: |_| 1e-40, state: |_| 0.0, ..SCAN },
        Scan { name: "B and C of 1e-40", bc: |_| -1e-40, state: |_| 0.0, ..SCAN },
        Scan { name: "raw delta of -95", delta: |_| -95.0, softplus: true, ..SCAN },
        Scan { name: "raw delta of 90", delta: |_| 90.0, softplus: true, ..SCAN },
    ];
    let (tokens, channels) = (70, 37);
    for cpu in cpus() {
        for (case, d_state) in cases.iter().flat_map(|case| [1, 3, 16, 21].map(|d_state| (case, d_state))) {
            let (u, delta) = (list(tokens * channels, case.u), list(tokens * channels, case.delta));
            let (a, bc) = (list(d_state * channels, case.a), list(tokens * 2 * d_state, case.bc));
            let (mut state, d) = (list(d_state * channels, case.state), list(channels, ordinary));
            let mut output = vec![0.0f32; tokens * channels];
            let (batch, bc) = (Batch::single(tokens), Rows::new(&bc[..], tokens, 2 * d_state).unwrap());
            let mut met = true;
            for _ in 0..case.calls {
                let args = SelectiveScan::<Cpu, f32> {
                    u: Rows::new(&u[..], tokens, channels).unwrap(),
                    delta: Rows::new(&delta[..], tokens, channels).unwrap(),
                    a: &a,
                    b: bc.columns(0..d_state).unwrap(),
                    c: bc.columns(d_state..2 * d_state).unwrap(),
                    n_groups: 1,
                    d: Some(&d),
                    z: None,
                    delta_bias: None,
                    delta_softplus: case.softplus,
                    batch: &batch,
                    state: Some(&mut state[..]),
                    output: Rows::new(&mut output[..], tokens, channels).unwrap(),
                };
                met = meets(|| cpu.selective_scan(args, &mut Default::default()).unwrap());
            }
            assert!(!met, "{}, {}, d_state {d_state}", cpu.isa(), case.name);
        }
    }
}

fn convolution(cpu: &Cpu, input: Values) -> bool {
    let (tokens, channels) = (9, 70);
    let (input, weight) = (list(tokens * channels, input), vec![0.25; 4 * channels]);
    let (mut output, batch) = (vec![0.0f32; tokens * channels], Batch::single(tokens));
    let args = CausalConv1d::<Cpu, f32> {
        input: Rows::new(&input[..], tokens, channels).unwrap(),
        weight: &weight,
        bias: None,
        activation: Activation::Silu,
        batch: &batch,
        state: None,
        output: Rows::new(&mut output[..], tokens, channels).unwrap(),
    };
    meets(|| cpu.causal_conv1d(args, &mut Default::default()).unwrap())
}

#[test]
fn convolutions_and_norms() {
    let (tokens, channels) = (9, 70);
    for cpu in cpus() {
        for input in [ordinary, |_| 90.0, |_| -95.0, |_| -110.0, |_| 1e-20] as [Values; 5] {
            assert!(!convolution(&cpu, input), "{}", cpu.isa());
        }
        for input in [ordinary, |_| 1e-20, |_| 0.0] as [Values; 3] {
            let input = list(tokens * channels, input);
            let mut output = vec![0.0f32; tokens * channels];
            let args = RmsNorm::<Cpu, f32, f32> {
                input: Rows::new(&input[..], tokens, channels).unwrap(),
                residual: None,
                weight: None,
                eps: 1e-5,
                output: Rows::new(&mut output[..], tokens, channels).unwrap(),
            };
            assert!(!meets(|| cpu.rms_norm(args, &mut Default::default()).unwrap()), "{}", cpu.isa());
        }
    }
}

/// The flags see what they must, in a kernel too.
#[test]
fn a_subnormal_number_is_seen() {
    for cpu in cpus() {
        assert!(convolution(&cpu, |_| 1e-40), "{}", cpu.isa());
    }
    let factor = std::hint::black_box(1e-20f32);
    let multiply = |other: f32| meets(|| _ = std::hint::black_box(factor * other));
    assert!(multiply(factor));
    assert!(!multiply(2.0));
}
