//! Threads: batches of unequal lengths, many small sequences, more threads than CPUs, several callers.

use crate::calls::ordinary;
use crate::shapes::{Arrays, conv, scan};
use crate::values::product;
use crate::{Pair, Run};
use mamba_kernels::ops::{Epilogue, Linear};
use mamba_kernels::{Backend, Cpu, Rows};

fn cpu(threads: usize) -> Cpu {
    Cpu::builder().threads(threads).build().expect("the instruction set that the environment asks for")
}

pub(super) fn pairs(wanted: &dyn Fn(&str) -> bool, each: &mut dyn FnMut(Pair)) {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let mut add =
        |name: String, threads: usize, work: f64, case: &dyn Fn() -> Run, twin: &dyn Fn() -> Run| {
            if wanted(&name) {
                each(Pair { name, cpu: cpu(threads), case: case(), twin: twin(), work });
            }
        };
    let many: Vec<usize> = [&[1; 31][..], &[2048]].concat();
    let unequal: [(&str, Vec<usize>); 6] = [
        ("2048 and 0", vec![2048, 0]),
        ("2048 and 1", vec![2048, 1]),
        ("31 of 1 and 2048", many),
        ("1900 and 148", vec![1900, 148]),
        ("2000 of 1", vec![1; 2000]),
        ("64 of 32", vec![32; 64]),
    ];
    for (name, lengths) in &unequal {
        let arrays = Arrays { lengths: vec![2048], channels: 1024, ..Arrays::default() };
        let case = Arrays { lengths: lengths.clone(), ..arrays.clone() };
        let work = lengths.iter().sum::<usize>() as f64 / 2048.0;
        let run = |op: fn(&Cpu, &Arrays) -> Run, arrays: &Arrays| op(&cpu(cpus), arrays);
        add(format!("threads/selective_scan/{name}"), cpus, work, &|| run(scan, &case), &|| {
            run(scan, &arrays)
        });
        add(format!("threads/causal_conv1d/{name}"), cpus, work, &|| run(conv, &case), &|| {
            run(conv, &arrays)
        });
    }
    // small calls, which no other thread should wake for
    let small = Arrays { lengths: vec![1, 1], channels: 64, ..Arrays::default() };
    for threads in [cpus, 64] {
        let (case, twin) = (|| scan(&cpu(threads), &small), || scan(&cpu(1), &small));
        add(
            format!("threads/selective_scan/2 of 1, 64 channels, {threads} threads"),
            threads,
            1.0,
            &case,
            &twin,
        );
        let (case, twin) = (|| conv(&cpu(threads), &small), || conv(&cpu(1), &small));
        add(
            format!("threads/causal_conv1d/2 of 1, 64 channels, {threads} threads"),
            threads,
            1.0,
            &case,
            &twin,
        );
    }
    // more threads than CPUs
    for (name, shape) in [("1 x 768 x 3072", (1, 768, 3072)), ("64 x 768 x 3072", (64, 768, 3072))] {
        let (case, twin) = (|| product(&cpu(64), shape), || product(&cpu(cpus), shape));
        add(format!("threads/linear/{name}, 64 threads"), 64, 1.0, &case, &twin);
    }
    let long = Arrays { lengths: vec![256], channels: 1024, ..Arrays::default() };
    add("threads/selective_scan/256, 64 threads".into(), 64, 1.0, &|| scan(&cpu(64), &long), &|| {
        scan(&cpu(cpus), &long)
    });
    let wide = Arrays { lengths: vec![1], channels: 8192, d_state: 256, ..Arrays::default() };
    add(
        "threads/selective_scan/1 token of 8192 x 256, 64 threads".into(),
        64,
        1.0,
        &|| scan(&cpu(64), &wide),
        &|| scan(&cpu(cpus), &wide),
    );
    // eight callers of one backend at a time, for the work of eight
    let shape = (128, 768, 768);
    add("threads/linear/8 callers".into(), cpus, 8.0, &|| callers(8, shape), &|| product(&cpu(cpus), shape));
}

/// A thread per caller, started anew in each run.
fn callers(count: usize, (tokens, k, n): (usize, usize, usize)) -> Run {
    let cpu = Cpu::new();
    let input: Vec<f32> = (0..tokens * k).map(ordinary).collect();
    let weight: Vec<f32> = (0..n * k).map(ordinary).collect();
    let weight = cpu.pack(Rows::new(&weight[..], n, k).unwrap()).unwrap();
    let mut outputs = vec![vec![0.0f32; tokens * n]; count];
    Box::new(move || {
        std::thread::scope(|scope| {
            for output in &mut outputs {
                let (cpu, input, weight) = (&cpu, &input, &weight);
                scope.spawn(move || {
                    let args = Linear::<Cpu, f32, f32> {
                        input: Rows::new(&input[..], tokens, k).unwrap(),
                        weight,
                        bias: None,
                        epilogue: Epilogue::Store,
                        output: Rows::new(&mut output[..], tokens, n).unwrap(),
                    };
                    cpu.linear(args, &mut Default::default()).unwrap();
                });
            }
        });
    })
}
