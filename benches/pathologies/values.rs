//! Values: subnormal numbers in inputs, weights and states, or on the way to ordinary results; infinities, NaN, zeros.

use crate::Pair;
use crate::calls::{Run, SCAN, ScanValues, Values, conv, linear, norm, ordinary, positive, scan};
use mamba_kernels::ops::Epilogue;
use mamba_kernels::{Cpu, WeightFormat};

/// Tokens, channels and states of the scans; tokens and channels of convolutions and norms.
const SCANNED: [usize; 3] = [64, 256, 16];
const CONVOLVED: [usize; 2] = [64, 1024];
const NORMED: [usize; 2] = [64, 768];

/// One thread: what a value costs has nothing to do with threads.
fn cpu() -> Cpu {
    Cpu::builder().threads(1).build().expect("the instruction set that the environment asks for")
}

/// A product of ordinary numbers.
pub(super) fn product(cpu: &Cpu, shape: (usize, usize, usize)) -> Run {
    linear(cpu, shape, ordinary, ordinary, Epilogue::Store, WeightFormat::F32)
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
        add(format!("values/selective_scan/{name}"), &|| scan(&cpu(), SCANNED, case), &|| {
            scan(&cpu(), SCANNED, twin)
        });
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
        add(format!("values/causal_conv1d/{name}"), &|| conv(&cpu(), CONVOLVED, input), &|| {
            conv(&cpu(), CONVOLVED, ordinary)
        });
    }
    let sums: [(&str, Values); 5] =
        [("45", |_| 45.0), ("-47", |_| -47.0), ("53", |_| 53.0), ("90", |_| 90.0), ("-95", |_| -95.0)];
    let shape = (64, 1, 1024);
    let plus = Epilogue::Softplus;
    for (name, input) in sums {
        let case = || linear(&cpu(), shape, input, |_| 1.0, plus, WeightFormat::F32);
        let twin = || linear(&cpu(), shape, ordinary, |_| 1.0, plus, WeightFormat::F32);
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
            let case = || linear(&cpu(), shape, input, weight, Epilogue::Store, WeightFormat::F32);
            let twin = || product(&cpu(), shape);
            add(format!("values/linear/{name}, {size}"), &case, &twin);
        }
    }
    let case = || linear(&cpu(), (1, 512, 512), ordinary, |_| 1e-40, Epilogue::Store, WeightFormat::Bf16);
    let twin = || linear(&cpu(), (1, 512, 512), ordinary, ordinary, Epilogue::Store, WeightFormat::Bf16);
    add("values/linear/bf16 weights of 1e-40, one row".into(), &case, &twin);
    let norms: [(&str, Values); 4] =
        [("1e-40", |_| 1e-40), ("1e-20", |_| 1e-20), ("0", |_| 0.0), ("NaN", |_| f32::NAN)];
    for (name, input) in norms {
        add(format!("values/rms_norm/inputs of {name}"), &|| norm(&cpu(), NORMED, input), &|| {
            norm(&cpu(), NORMED, ordinary)
        });
    }
}
