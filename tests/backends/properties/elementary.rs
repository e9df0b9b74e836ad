//! The elementary functions over a strided subset of all inputs. `examples/ulp.rs` goes through all 2^32.

use crate::harness::arrays::{Device, same_bits};
use crate::harness::error_analysis::ulp;
use mamba_kernels::cpu::{Elementary, Isa};
use mamba_kernels::reference::math;
use mamba_kernels::{Cpu, DType};

/// A prime, so that all low bits occur.
const STRIDE: usize = 10007;

/// Every `STRIDE`-th bit pattern, the neighbours of those that start a new exponent, and where `exp` ends.
fn inputs() -> Vec<f32> {
    let strided = (0..=u32::MAX).step_by(STRIDE);
    let edges = (0..512u32).flat_map(|exponent| {
        let bits = exponent << 23;
        [bits.wrapping_sub(1), bits, bits + 1]
    });
    let least = (-126.0 * std::f32::consts::LN_2).to_bits();
    strided.chain(edges).chain(least - 100..least + 100).map(f32::from_bits).collect()
}

/// In f64, whose error does not count here.
fn exact(function: Elementary, x: f32) -> f64 {
    let x = f64::from(x);
    match function {
        Elementary::Exp => x.exp(),
        Elementary::Exp2 => x.exp2(),
        Elementary::Sigmoid => math::sigmoid(x),
        Elementary::Silu => math::silu(x),
        Elementary::Softplus => math::softplus(x),
    }
}

/// The error in units in the last place of the correctly rounded result, or 0 if that is below `smallest` and the error is
/// at most that; infinite if one is a NaN or an infinity and the other is not, except for one step past the largest
/// number, which is a rounding error like another.
fn error(y: f32, value: f64, smallest: f64) -> f64 {
    let rounded = value as f32;
    if y == rounded && y.is_infinite() || y.is_nan() && value.is_nan() {
        return 0.0;
    }
    if y.is_infinite() != rounded.is_infinite() {
        let finite = if y.is_infinite() { rounded } else { y };
        let neighbours = finite.abs() == f32::MAX && y.is_sign_negative() == value.is_sign_negative();
        return if neighbours { 1.0 } else { f64::INFINITY };
    }
    let off = (f64::from(y) - value).abs();
    if value.abs() < smallest {
        return if off <= smallest { 0.0 } else { f64::INFINITY };
    }
    let off = off / ulp(f64::from(rounded), DType::F32);
    if off.is_nan() { f64::INFINITY } else { off }
}

/// Within the stated bound of each function, which is not far above the largest error.
pub fn within_max_ulp(devices: &[Device<Cpu>]) {
    for function in Elementary::ALL {
        let inputs = inputs();
        let mut values = inputs.clone();
        devices[0].backend.elementary(function, &mut values);
        let mut worst = (0.0, 0.0);
        for (&x, &y) in inputs.iter().zip(&values) {
            let error = error(y, exact(function, x), function.smallest());
            if error > worst.0 {
                worst = (error, x);
            }
        }
        let (name, bound) = (function.name(), function.max_ulp());
        println!("{name}: {:.3} ulp at {:e}, bound {bound}", worst.0, worst.1);
        assert!(worst.0 <= bound, "{name}: {} ulp at {:e}, bound {bound}", worst.0, worst.1);
        assert!(worst.0 >= bound / 4.0, "{name}: {} ulp at most, bound {bound}", worst.0);
    }
}

/// The bits of the portable instruction set.
pub fn equals_portable_bits(devices: &[Device<Cpu>]) {
    let portable = Cpu::builder().isa(Isa::Portable).build().unwrap();
    for function in Elementary::ALL {
        let (mut found, mut expected) = (inputs(), inputs());
        devices[0].backend.elementary(function, &mut found);
        portable.elementary(function, &mut expected);
        same_bits(&found, &expected, 1, function.name()).unwrap();
    }
}

/// Any length and start of a slice: the vector that is not full gives the same bits.
pub fn any_slice_gives_the_same_bits(devices: &[Device<Cpu>]) {
    let inputs: Vec<f32> = inputs().into_iter().step_by(4001).collect();
    for function in Elementary::ALL {
        let mut whole = inputs.clone();
        devices[0].backend.elementary(function, &mut whole);
        for start in 0..20 {
            for length in 0..40 {
                let mut part = inputs.clone();
                devices[0].backend.elementary(function, &mut part[start..start + length]);
                let what = format!("{} of {length} from {start}", function.name());
                same_bits(&part[start..start + length], &whole[start..start + length], 1, &what).unwrap();
                same_bits(&part[..start], &inputs[..start], 1, &what).unwrap();
                same_bits(&part[start + length..], &inputs[start + length..], 1, &what).unwrap();
            }
        }
    }
}
