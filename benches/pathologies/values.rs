//! Values: subnormal numbers in inputs, weights and states, or on the way to ordinary results; infinities, NaN, zeros.

use crate::{Pair, Run};
use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, Linear, RmsNorm, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cpu, Rows, bf16};

/// A number for each index.
type Values = fn(usize) -> f32;

/// Ordinary numbers of both signs, of magnitude 1.
pub(super) fn ordinary(i: usize) -> f32 {
    let unit = (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 65536.0;
    if i.is_multiple_of(3) { -0.5 - unit } else { 0.5 + unit }
}

pub(super) fn positive(i: usize) -> f32 {
    ordinary(i).abs()
}

/// One thread: what a value costs has nothing to do with threads.
fn cpu() -> Cpu {
    Cpu::builder().threads(1).build().expect("the instruction set that the environment asks for")
}

/// The arrays of a scan of one sequence, by index.
#[derive(Clone, Copy)]
struct ScanValues {
    u: Values,
    delta: Values,
    softplus: bool,
    a: Values,
    bc: Values,
    z: Option<Values>,
    /// Before each run.
    state: Values,
}

const SCAN: ScanValues = ScanValues {
    u: ordinary,
    delta: |i| 0.02 * positive(i),
    softplus: false,
    a: |i| -positive(i),
    bc: ordinary,
    z: None,
    state: ordinary,
};

fn scan(values: ScanValues) -> Run {
    let (cpu, tokens, channels, d_state) = (cpu(), 64, 256, 16);
    let list = |values: Values, count: usize| (0..count).map(values).collect::<Vec<f32>>();
    let (u, delta) = (list(values.u, tokens * channels), list(values.delta, tokens * channels));
    let (a, bc) = (list(values.a, d_state * channels), list(values.bc, tokens * 2 * d_state));
    let z = values.z.map(|z| list(z, tokens * channels));
    let first = list(values.state, d_state * channels);
    let (mut state, mut output) = (first.clone(), vec![0.0f32; tokens * channels]);
    let (batch, mut workspace) = (Batch::single(tokens), Default::default());
    Box::new(move || {
        state.copy_from_slice(&first);
        let bc = Rows::new(&bc[..], tokens, 2 * d_state).unwrap();
        let args = SelectiveScan::<Cpu, f32> {
            u: Rows::new(&u[..], tokens, channels).unwrap(),
            delta: Rows::new(&delta[..], tokens, channels).unwrap(),
            a: &a,
            b: bc.columns(0..d_state).unwrap(),
            c: bc.columns(d_state..2 * d_state).unwrap(),
            n_groups: 1,
            d: None,
            z: z.as_ref().map(|z| Rows::new(&z[..], tokens, channels).unwrap()),
            delta_bias: None,
            delta_softplus: values.softplus,
            batch: &batch,
            state: Some(&mut state[..]),
            output: Rows::new(&mut output[..], tokens, channels).unwrap(),
        };
        cpu.selective_scan(args, &mut workspace).unwrap();
    })
}

/// A convolution whose sums are of about this size, and SiLU.
fn conv(input: Values) -> Run {
    let (cpu, tokens, channels) = (cpu(), 64, 1024);
    let input: Vec<f32> = (0..tokens * channels).map(input).collect();
    let weight = vec![0.25f32; 4 * channels];
    let (mut output, batch) = (vec![0.0f32; tokens * channels], Batch::single(tokens));
    Box::new(move || {
        let args = CausalConv1d::<Cpu, f32> {
            input: Rows::new(&input[..], tokens, channels).unwrap(),
            weight: &weight,
            bias: None,
            activation: Activation::Silu,
            batch: &batch,
            state: None,
            output: Rows::new(&mut output[..], tokens, channels).unwrap(),
        };
        cpu.causal_conv1d(args, &mut Default::default()).unwrap();
    })
}

/// A product of `tokens` x `k` x `n` and its epilogue.
pub(super) fn linear(
    cpu: &Cpu,
    (tokens, k, n): (usize, usize, usize),
    input: Values,
    weight: Values,
    epilogue: Epilogue,
    narrow: bool,
) -> Run {
    let cpu = cpu.clone();
    let input: Vec<f32> = (0..tokens * k).map(input).collect();
    let weight: Vec<f32> = (0..n * k).map(weight).collect();
    let weight = if narrow {
        let weight: Vec<bf16> = weight.into_iter().map(bf16::from_f32).collect();
        cpu.pack(Rows::new(&weight[..], n, k).unwrap()).unwrap()
    } else {
        cpu.pack(Rows::new(&weight[..], n, k).unwrap()).unwrap()
    };
    let (mut output, mut workspace) = (vec![0.0f32; tokens * n], Default::default());
    Box::new(move || {
        let args = Linear::<Cpu, f32, f32> {
            input: Rows::new(&input[..], tokens, k).unwrap(),
            weight: &weight,
            bias: None,
            epilogue,
            output: Rows::new(&mut output[..], tokens, n).unwrap(),
        };
        cpu.linear(args, &mut workspace).unwrap();
    })
}

/// A product of ordinary numbers.
pub(super) fn product(cpu: &Cpu, shape: (usize, usize, usize)) -> Run {
    linear(cpu, shape, ordinary, ordinary, Epilogue::Store, false)
}

fn norm(input: Values) -> Run {
    let (cpu, tokens, channels) = (cpu(), 64, 768);
    let input: Vec<f32> = (0..tokens * channels).map(input).collect();
    let mut output = vec![0.0f32; tokens * channels];
    Box::new(move || {
        let args = RmsNorm::<Cpu, f32, f32> {
            input: Rows::new(&input[..], tokens, channels).unwrap(),
            residual: None,
            weight: None,
            eps: 1e-5,
            output: Rows::new(&mut output[..], tokens, channels).unwrap(),
        };
        cpu.rms_norm(args, &mut Default::default()).unwrap();
    })
}

pub(super) fn pairs(wanted: &dyn Fn(&str) -> bool, each: &mut dyn FnMut(Pair)) {
    let mut add = |name: String, case: &dyn Fn() -> Run, twin: &dyn Fn() -> Run| {
        if wanted(&name) {
            each(Pair { name, cpu: cpu(), case: case(), twin: twin(), work: 1.0 });
        }
    };
    let softplus = ScanValues { softplus: true, delta: |i| ordinary(i) - 4.0, ..SCAN };
    let gated = ScanValues { z: Some(ordinary), ..SCAN };
    let scans: [(&str, ScanValues, ScanValues); 22] = [
        ("a decay that is subnormal", ScanValues { delta: |_| 90.0, a: |_| -1.0, ..SCAN }, SCAN),
        ("a decay of 0", ScanValues { delta: |_| 200.0, a: |_| -1.0, ..SCAN }, SCAN),
        (
            "a subnormal state that is kept",
            ScanValues { u: |_| 0.0, delta: |_| 0.0, state: |_| 1e-40, ..SCAN },
            SCAN,
        ),
        ("silence after sound", ScanValues { u: |_| 0.0, delta: |_| 1.0, a: |_| -2.0, ..SCAN }, SCAN),
        ("silence", ScanValues { u: |_| 0.0, state: |_| 0.0, ..SCAN }, SCAN),
        ("u of 1e-40", ScanValues { u: |_| 1e-40, state: |_| 0.0, ..SCAN }, SCAN),
        ("B and C of 1e-40", ScanValues { bc: |_| 1e-40, state: |_| 0.0, ..SCAN }, SCAN),
        ("u and B of 1e-20", ScanValues { u: |_| 1e-20, bc: |_| 1e-20, state: |_| 0.0, ..SCAN }, SCAN),
        ("raw delta of -47", ScanValues { delta: |_| -47.0, ..softplus }, softplus),
        ("raw delta of 50", ScanValues { delta: |_| 50.0, a: |_| -0.001, ..softplus }, softplus),
        ("raw delta of 90", ScanValues { delta: |_| 90.0, a: |_| -0.001, ..softplus }, softplus),
        ("raw delta of -95", ScanValues { delta: |_| -95.0, ..softplus }, softplus),
        ("raw delta of -110", ScanValues { delta: |_| -110.0, ..softplus }, softplus),
        ("z of 90", ScanValues { z: Some(|_| 90.0), ..gated }, gated),
        ("z of -95", ScanValues { z: Some(|_| -95.0), ..gated }, gated),
        ("z of -200", ScanValues { z: Some(|_| -200.0), ..gated }, gated),
        ("u infinite", ScanValues { u: |_| f32::INFINITY, ..SCAN }, SCAN),
        ("u NaN", ScanValues { u: |_| f32::NAN, ..SCAN }, SCAN),
        ("delta NaN", ScanValues { delta: |_| f32::NAN, ..softplus }, softplus),
        ("z infinite", ScanValues { z: Some(|_| f32::NEG_INFINITY), ..gated }, gated),
        ("a of 0", ScanValues { a: |_| 0.0, ..SCAN }, SCAN),
        (
            "a of -16, delta of 18.7",
            ScanValues { delta: |_| 18.7, a: |i| -1.0 - (i / 256) as f32, ..SCAN },
            SCAN,
        ),
    ];
    for (name, case, twin) in scans {
        add(format!("values/selective_scan/{name}"), &|| scan(case), &|| scan(twin));
    }
    let convs: [(&str, Values); 9] = [
        ("sums of 90", |_| 90.0),
        ("sums of -95", |_| -95.0),
        ("sums of -110", |_| -110.0),
        ("inputs of 60", |_| 60.0),
        ("inputs infinite", |_| f32::INFINITY),
        ("inputs NaN", |_| f32::NAN),
        ("inputs of 1e-40", |_| 1e-40),
        ("inputs of 1e-20", |_| 1e-20),
        ("inputs of 0", |_| 0.0),
    ];
    for (name, input) in convs {
        add(format!("values/causal_conv1d/{name}"), &|| conv(input), &|| conv(ordinary));
    }
    let sums: [(&str, Values); 5] =
        [("45", |_| 45.0), ("-47", |_| -47.0), ("53", |_| 53.0), ("90", |_| 90.0), ("-95", |_| -95.0)];
    let shape = (64, 1, 1024);
    let plus = Epilogue::Softplus;
    for (name, input) in sums {
        let case = || linear(&cpu(), shape, input, |_| 1.0, plus, false);
        let twin = || linear(&cpu(), shape, ordinary, |_| 1.0, plus, false);
        add(format!("values/linear/softplus of {name}"), &case, &twin);
    }
    let products: [(&str, Values, Values); 8] = [
        ("inputs of 1e-40", |_| 1e-40, ordinary),
        ("inputs of 1e-38", |_| 1e-38, ordinary),
        ("weights of 1e-40", ordinary, |_| 1e-40),
        ("both of 1e-20", |_| 1e-20, |_| 1e-20),
        ("inputs of 0", |_| 0.0, ordinary),
        ("inputs infinite", |_| f32::INFINITY, positive),
        ("inputs NaN", |_| f32::NAN, ordinary),
        ("a tenth of the inputs 1e-40", |i| if i % 10 == 0 { 1e-40 } else { ordinary(i) }, ordinary),
    ];
    for (name, input, weight) in products {
        for (size, shape) in [("64 rows", (64, 512, 512)), ("one row", (1, 512, 512))] {
            let case = || linear(&cpu(), shape, input, weight, Epilogue::Store, false);
            let twin = || product(&cpu(), shape);
            add(format!("values/linear/{name}, {size}"), &case, &twin);
        }
    }
    let case = || linear(&cpu(), (1, 512, 512), ordinary, |_| 1e-40, Epilogue::Store, true);
    let twin = || linear(&cpu(), (1, 512, 512), ordinary, ordinary, Epilogue::Store, true);
    add("values/linear/bf16 weights of 1e-40, one row".into(), &case, &twin);
    let norms: [(&str, Values); 4] =
        [("1e-40", |_| 1e-40), ("1e-20", |_| 1e-20), ("0", |_| 0.0), ("NaN", |_| f32::NAN)];
    for (name, input) in norms {
        add(format!("values/rms_norm/inputs of {name}"), &|| norm(input), &|| norm(ordinary));
    }
}
