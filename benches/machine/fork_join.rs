//! `cargo bench --bench fork_join`: the cost of a parallel region with nothing to do, this crate's threads against a
//! rayon pool of the same size. The op is a norm of as many rows as are cut into parts, each row small.

use mamba_kernels::cpu::Cpu;
use mamba_kernels::ops::RmsNorm;
use mamba_kernels::{Backend, Rows};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Rows and columns just large enough for two parts.
const ROWS: usize = 64;
const COLUMNS: usize = 1024;

fn microseconds(repeats: u32, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| work());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(repeats)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[4]
}

fn main() {
    let threads = Cpu::new().threads();
    let input = vec![1.0f32; ROWS * COLUMNS];
    let mut output = vec![0.0f32; ROWS * COLUMNS];
    let mut norm = |cpu: &Cpu| {
        let args = RmsNorm::<Cpu, f32, f32> {
            input: Rows::new(&input[..], ROWS, COLUMNS).unwrap(),
            residual: None,
            weight: None,
            eps: 1e-5,
            output: Rows::new(&mut output[..], ROWS, COLUMNS).unwrap(),
        };
        cpu.rms_norm(args, &mut Default::default()).unwrap();
    };
    let one = Cpu::builder().threads(1).build().unwrap();
    let team = Cpu::builder().threads(threads).build().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for _ in 0..3 {
        let alone = microseconds(2000, || norm(&one));
        let together = microseconds(2000, || norm(&team));
        let rayon = microseconds(2000, || {
            pool.install(|| (0..threads).into_par_iter().with_max_len(1).for_each(|i| _ = black_box(i)));
        });
        println!(
            "a norm on 1 thread {alone:.2} us, on {threads} {together:.2} us; an empty rayon region {rayon:.2} us"
        );
    }
}
