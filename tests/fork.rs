//! What holds in a child of `fork`: it has its parent's memory and only the thread that forked.
#![cfg(target_os = "linux")]

use mamba_kernels::ops::{Epilogue, Linear, RmsNorm};
use mamba_kernels::{Backend, Cpu, Rows};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows and columns that are worth several tasks.
const ROWS: usize = 96;
const COLUMNS: usize = 1024;

/// A norm and a product, both by several threads.
fn outputs(cpu: &Cpu) -> Vec<f32> {
    let input: Vec<f32> = (0..ROWS * COLUMNS).map(|i| (i % 97) as f32 - 40.0).collect();
    let mut normed = vec![0.0f32; ROWS * COLUMNS];
    let mut workspace = Default::default();
    let norm = RmsNorm::<Cpu, f32, f32> {
        input: Rows::new(&input[..], ROWS, COLUMNS).unwrap(),
        residual: None,
        weight: None,
        eps: 1e-5,
        output: Rows::new(&mut normed[..], ROWS, COLUMNS).unwrap(),
    };
    cpu.rms_norm(norm, &mut workspace).unwrap();
    let weight = cpu.pack(Rows::new(&input[..64 * COLUMNS], 64, COLUMNS).unwrap()).unwrap();
    let mut product = vec![0.0f32; ROWS * 64];
    let linear = Linear::<Cpu, f32, f32> {
        input: Rows::new(&normed[..], ROWS, COLUMNS).unwrap(),
        weight: &weight,
        bias: None,
        epilogue: Epilogue::Store,
        output: Rows::new(&mut product[..], ROWS, 64).unwrap(),
    };
    cpu.linear(linear, &mut workspace).unwrap();
    normed.extend(product);
    normed
}

/// Runs `work` in a child, and fails if it fails, or takes more than a minute.
fn in_child(work: impl FnOnce()) {
    // SAFETY: the child runs `work` and ends without anything of the test harness.
    match unsafe { libc::fork() } {
        -1 => panic!("no child: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: a child that hangs is ended by the signal.
            unsafe { libc::alarm(60) };
            let result = catch_unwind(AssertUnwindSafe(work));
            // SAFETY: nothing of the parent's is cleaned up in the child.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 1 }) }
        }
        child => {
            let mut status = 0;
            // SAFETY: it writes to `status`.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child failed (256), or hung until its alarm (14)");
        }
    }
}

/// The threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// With threads, and with the same results in parent, child and grandchild.
#[test]
fn a_backend_works_in_a_child_and_in_its_child() {
    let cpu = Cpu::builder().threads(3).build().unwrap();
    let expected = outputs(&cpu);
    in_child(|| {
        assert_eq!(threads(), 1);
        assert_eq!(outputs(&cpu), expected);
        assert_eq!(threads(), 3, "a team of its own");
        in_child(|| {
            assert_eq!(outputs(&cpu), expected);
            assert_eq!(threads(), 3);
        });
        assert_eq!(outputs(&cpu), expected);
        assert_eq!(threads(), 3);
    });
    assert_eq!(outputs(&cpu), expected);
}

/// A child drops what it inherited, used or not, and what it made.
#[test]
fn a_backend_is_dropped_in_a_child() {
    let cpu = Cpu::builder().threads(3).build().unwrap();
    let expected = outputs(&cpu);
    let mut cpu = Some(cpu);
    in_child(|| drop(cpu.take()));
    in_child(|| {
        assert_eq!(outputs(cpu.as_ref().unwrap()), expected);
        drop(cpu.take());
        let own = Cpu::builder().threads(2).build().unwrap();
        assert_eq!(outputs(&own), expected);
    });
    assert_eq!(outputs(cpu.as_ref().unwrap()), expected);
}

/// Other threads are inside of calls at the time, at whatever place: the first region of a backend among them.
#[test]
fn a_child_of_a_busy_process_does_not_hang() {
    let expected = outputs(&Cpu::builder().threads(1).build().unwrap());
    for _ in 0..8 {
        let cpu = Cpu::builder().threads(2).build().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(outputs(&cpu), expected);
                    }
                });
            }
            let forks = AssertUnwindSafe(|| {
                for _ in 0..8 {
                    in_child(|| assert_eq!(outputs(&cpu), expected));
                }
            });
            let result = catch_unwind(forks);
            stop.store(true, Ordering::Relaxed);
            result.unwrap();
        });
    }
}
