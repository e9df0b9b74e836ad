//! Loops of multiply-adds and of exponentials, from registers and from the L1 cache.

use super::Loop;
use mamba_kernels::cpu::{Cpu, Elementary, Isa};
use std::hint::black_box;

/// Steps of a call of a loop: less than a millisecond.
const STEPS: u64 = 200_000;

/// Fused multiply-adds from registers, in FLOP.
pub fn multiply_adds(isa: Isa, threads: usize) -> Loop<'static> {
    let flops = fma_loop(isa, STEPS);
    Loop::new(threads, flops as f64, move |_| _ = black_box(fma_loop(isa, STEPS)))
}

/// The bf16 dot product instruction from registers, in FLOP; nothing if the instruction set has none.
pub fn bf16_dots(isa: Isa, threads: usize) -> Option<Loop<'static>> {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the CPU has the feature.
        let run = || unsafe { x86::dot_bf16(STEPS) };
        return Some(Loop::new(threads, run() as f64, move |_| _ = black_box(run())));
    }
    let _ = (isa, threads);
    None
}

/// Runs `steps` times twelve independent chains of fused multiply-adds; gives the number of operations.
fn fma_loop(isa: Isa, steps: u64) -> u64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller passes an instruction set that this CPU has.
        Isa::Avx512 => unsafe { x86::fma_avx512(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::fma_avx2(steps) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon => unsafe { fma_neon(steps) },
        _ => {
            let mut sums = [[0.5f32; 4]; 12];
            let steps = steps / 16; // without the instruction, a call of a function each
            for _ in 0..steps {
                for sum in &mut sums {
                    for lane in sum {
                        *lane = lane.mul_add(0.999, 1e-3);
                    }
                }
            }
            black_box(sums);
            steps * 12 * 4 * 2
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn fma_neon(steps: u64) -> u64 {
    use std::arch::aarch64::*;
    let (factor, summand) = (vdupq_n_f32(0.999), vdupq_n_f32(1e-3));
    let mut sums = [vdupq_n_f32(0.5); 24];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = vfmaq_f32(summand, *sum, factor);
        }
    }
    black_box(sums);
    steps * 24 * 4 * 2
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub fn fma_avx512(steps: u64) -> u64 {
        let (factor, summand) = (_mm512_set1_ps(0.999), _mm512_set1_ps(1e-3));
        let mut sums = [_mm512_set1_ps(0.5); 12];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, summand);
            }
        }
        black_box(sums);
        steps * 12 * 16 * 2
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn dot_bf16(steps: u64) -> u64 {
        let factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(0.25));
        let mut sums = [_mm512_set1_ps(0.5); 12];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
        steps * 12 * 32 * 2
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn fma_avx2(steps: u64) -> u64 {
        let (factor, summand) = (_mm256_set1_ps(0.999), _mm256_set1_ps(1e-3));
        let mut sums = [_mm256_set1_ps(0.5); 12];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, summand);
            }
        }
        black_box(sums);
        steps * 12 * 8 * 2
    }
}

/// An elementary function over values in the L1 cache, in values.
pub fn elementary(isa: Isa, function: Elementary, threads: usize) -> Loop<'static> {
    const VALUES: usize = 2048;
    const STEPS: usize = 200;
    let cpu = Cpu::builder().isa(isa).threads(1).build().expect("the caller passes what this CPU has");
    Loop::new(threads, (VALUES * STEPS) as f64, move |_| {
        let mut values = [-0.7f32; VALUES];
        for _ in 0..STEPS {
            // the values soon are at a fixed point or at infinity: each costs the same
            cpu.elementary(function, black_box(&mut values));
        }
    })
}
