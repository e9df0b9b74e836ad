//! What this machine can do: the ceilings that a kernel's figure is a fraction of, measured in the same run.

use mamba_kernels::cpu::{Cpu, Elementary, Isa};
use std::hint::black_box;
use std::time::Instant;

/// Runs `work` on `threads` threads at once and gives the seconds of the slowest, as a mean over `repeats`.
pub fn seconds_on(threads: usize, repeats: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = std::sync::Barrier::new(threads);
    let slowest = std::thread::scope(|scope| {
        let (work, barrier) = (&work, &barrier);
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    work(thread); // warms up
                    barrier.wait();
                    let start = Instant::now();
                    (0..repeats).for_each(|_| work(thread));
                    start.elapsed().as_secs_f64()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).fold(0.0, f64::max)
    });
    slowest / repeats as f64
}

/// Fused multiply-adds from registers, in FLOP per second.
pub fn fma_peak(isa: Isa, threads: usize) -> f64 {
    const STEPS: u64 = 200_000;
    let flops = fma_loop(isa, STEPS);
    let best = (0..3).map(|_| seconds_on(threads, 3, |_| _ = black_box(fma_loop(isa, STEPS))));
    threads as f64 * flops as f64 / best.fold(f64::INFINITY, f64::min)
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
        _ => {
            let mut sums = [[0.5f32; 4]; 12];
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

/// Reading 1 GiB once from memory, in bytes per second.
pub struct ReadBandwidth {
    data: Vec<u64>,
}

impl ReadBandwidth {
    pub fn new() -> Self {
        Self { data: (0..1u64 << 27).collect() }
    }

    pub fn measure(&self, threads: usize) -> f64 {
        let part = self.data.len() / threads;
        let seconds = (0..3).map(|_| {
            seconds_on(threads, 1, |thread| {
                black_box(sum(&self.data[thread * part..][..part]));
            })
        });
        (part * threads * 8) as f64 / seconds.fold(f64::INFINITY, f64::min)
    }
}

/// A sum with enough chains that only memory limits it.
fn sum(data: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in data.chunks_exact(32) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Copying `bytes` from one array to another through the caches, as a kernel does whose output is wanted soon, in bytes
/// read plus bytes written per second. (`memcpy` writes large arrays past the caches.)
pub fn copy_bandwidth(threads: usize, bytes: usize) -> f64 {
    let len = bytes / 4 / threads;
    let arrays: Vec<_> =
        (0..threads).map(|_| std::sync::Mutex::new((vec![1.0f32; len], vec![0.0f32; len]))).collect();
    let seconds = (0..3).map(|_| {
        seconds_on(threads, 3, |thread| {
            let mut arrays = arrays[thread].lock().expect("no thread panics");
            let (source, target) = &mut *arrays;
            let changed = black_box(-0.0f32); // a sum, so that the loop does not become a memcpy
            target.iter_mut().zip(source.iter()).for_each(|(target, source)| *target = source + changed);
            black_box(target.last());
        })
    });
    (len * threads * 8) as f64 / seconds.fold(f64::INFINITY, f64::min)
}

/// An elementary function over values in the L1 cache, in values per second.
pub fn elementary_rate(isa: Isa, function: Elementary, threads: usize) -> f64 {
    const VALUES: usize = 2048;
    const STEPS: usize = 200;
    let cpu = Cpu::builder().isa(isa).threads(1).build().expect("the caller passes what this CPU has");
    let seconds = (0..3).map(|_| {
        seconds_on(threads, 3, |_| {
            let mut values = [-0.7f32; VALUES];
            for _ in 0..STEPS {
                // the values soon are at a fixed point or at infinity: each costs the same
                cpu.elementary(function, black_box(&mut values));
            }
        })
    });
    (VALUES * STEPS * threads) as f64 / seconds.fold(f64::INFINITY, f64::min)
}
