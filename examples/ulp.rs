//! Measures the errors of the elementary functions against f64, over every f32 input.
//!
//! `cargo run --release --example ulp [-- STRIDE]`: with a stride, only every STRIDE-th input. Prints the largest error of each
//! function in units in the last place of the correctly rounded result, the input at which it occurs, and the bound that the
//! crate states. Fails if a bound is exceeded.

use mamba_kernels::cpu::{Cpu, Elementary};
use mamba_kernels::reference::math;
use std::process::ExitCode;

/// The function in f64, with an error below 2^-50, which is negligible here.
fn oracle(function: Elementary, x: f32) -> f64 {
    let x = f64::from(x);
    match function {
        Elementary::Exp => x.exp(),
        Elementary::Exp2 => x.exp2(),
        Elementary::Sigmoid => math::sigmoid(x),
        Elementary::Silu => math::silu(x),
        Elementary::Softplus => math::softplus(x),
    }
}

/// The distance between f32 numbers at the magnitude of `value`.
fn ulp(value: f64) -> f64 {
    let rounded = (value.abs() as f32).min(f32::MAX);
    let exponent = (rounded.to_bits() >> 23).max(1) as i32 - 127;
    f64::from(exponent - 23).exp2()
}

/// The error of `y`, in ulp of the exact `value`; infinite if one is a NaN or an infinity and the other is not.
fn error(y: f32, value: f64, smallest: f64) -> f64 {
    if y.is_nan() || value.is_nan() {
        return if y.is_nan() && value.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let rounded = value as f32;
    if y.is_infinite() || rounded.is_infinite() {
        // one step past the largest number is a rounding error like any other
        let largest = if rounded.is_infinite() { y } else { rounded };
        let close = largest.abs() >= f32::MAX && y.is_sign_negative() == value.is_sign_negative();
        return if y == rounded {
            0.0
        } else if close {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let off = (f64::from(y) - value).abs();
    if value.abs() < smallest {
        return if off <= smallest { 0.0 } else { f64::INFINITY };
    }
    off / ulp(value)
}

fn worst(cpu: &Cpu, function: Elementary, inputs: impl Iterator<Item = u32>) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    let mut inputs = inputs.peekable();
    while inputs.peek().is_some() {
        let xs: Vec<f32> = inputs.by_ref().take(4096).map(f32::from_bits).collect();
        let mut ys = xs.clone();
        cpu.elementary(function, &mut ys);
        for (&x, &y) in xs.iter().zip(&ys) {
            let error = error(y, oracle(function, x), function.smallest());
            if error > worst.0 {
                worst = (error, x);
            }
        }
    }
    worst
}

fn main() -> ExitCode {
    let stride: usize = match std::env::args().nth(1).map(|arg| arg.parse()) {
        None => 1,
        Some(Ok(stride)) if stride > 0 => stride,
        _ => {
            eprintln!("usage: ulp [STRIDE]");
            return ExitCode::from(2);
        }
    };
    let cpu = Cpu::new();
    let threads = cpu.threads();
    println!("{} inputs per function, {}", (1u64 << 32).div_ceil(stride as u64), cpu.description());
    let mut failed = false;
    for function in Elementary::ALL {
        let found = std::thread::scope(|scope| {
            let cpu = &cpu;
            let workers: Vec<_> = (0..threads)
                .map(|worker| {
                    let inputs = (0..=u32::MAX).step_by(stride).skip(worker).step_by(threads);
                    scope.spawn(move || worst(cpu, function, inputs))
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("no worker panics"))
                .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
        });
        let bound = function.max_ulp();
        println!("{:8} {:.3} ulp at {:e}, bound {bound}", function.name(), found.0, found.1);
        failed |= found.0 > bound;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
