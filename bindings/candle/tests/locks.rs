//! Ops while other threads write to the tensors that they read: no op may lock a storage twice, or in its own order.

use candle_core::{D, DType, Device, Result, Tensor};
use mamba_kernels::Cpu;
use mamba_kernels_candle::{SelectiveScan, selective_scan};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const CALLS: usize = 100_000;
/// Some hundred times as long as the calls take.
const PATIENCE: Duration = Duration::from_secs(120);

fn scan(
    cpu: &Cpu,
    u: &Tensor,
    bc: &Tensor,
    a: &Tensor,
    d: Option<&Tensor>,
    state: Option<&Tensor>,
) -> Result<Tensor> {
    let (b, c) = (bc.narrow(D::Minus1, 0, 2)?, bc.narrow(D::Minus1, 2, 2)?);
    let args = SelectiveScan {
        u,
        delta: u,
        a,
        b: &b,
        c: &c,
        n_groups: 1,
        d,
        z: Some(u),
        delta_bias: d,
        delta_softplus: true,
        batch: None,
        state,
    };
    selective_scan(cpu, args)
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).expect("enough memory")
}

/// Runs each of `calls` [`CALLS`] times in its own thread, and `background` until all have returned.
fn all_return(calls: Vec<Box<dyn Fn() + Send>>, background: Vec<Box<dyn Fn() + Send>>) {
    let (sender, receiver) = mpsc::channel();
    let done = Arc::new(AtomicBool::new(false));
    for call in background {
        let done = done.clone();
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                call();
            }
        });
    }
    let threads = calls.len();
    for call in calls {
        let sender = sender.clone();
        // not joined: a thread that hangs would hang the test
        std::thread::spawn(move || {
            (0..CALLS).for_each(|_| call());
            sender.send(()).expect("the test waits");
        });
    }
    for _ in 0..threads {
        receiver.recv_timeout(PATIENCE).expect("an op waits for a lock that its own thread holds");
    }
    done.store(true, Ordering::Relaxed);
}

#[test]
fn operands_that_share_storage_while_it_is_written() {
    // all operands share it: each repeated lock is another chance to wait for the writer
    let pool = ones(&[40]);
    let part = |start: usize, len: usize, shape: &[usize]| {
        pool.narrow(0, start, len).and_then(|part| part.reshape(shape)).expect("it is within")
    };
    let (u, bc, a, d) = (part(0, 4, &[2, 2]), part(4, 8, &[2, 4]), part(12, 4, &[2, 2]), part(16, 2, &[2]));
    let cpu = Cpu::builder().threads(1).build().expect("a CPU");
    let read = move || drop(scan(&cpu, &u, &bc, &a, Some(&d), None).expect("it runs"));
    let writes = [0, 1].map(|_| {
        let (pool, source) = (pool.clone(), ones(&[1]));
        let write = move || pool.slice_set(&source, 0, 39).expect("it is written");
        Box::new(write) as Box<dyn Fn() + Send>
    });
    all_return(vec![Box::new(read)], writes.into());
}

#[test]
fn each_reads_what_the_other_updates() {
    let (first, second) = (ones(&[1, 2, 2]), ones(&[1, 2, 2]));
    let calls = [(first.clone(), second.clone()), (second, first)].map(|(state, a)| {
        let (u, bc) = (ones(&[2, 2]), ones(&[2, 4]));
        let a = a.squeeze(0).expect("one matrix");
        let cpu = Cpu::builder().threads(1).build().expect("a CPU");
        let call = move || drop(scan(&cpu, &u, &bc, &a, None, Some(&state)).expect("it runs"));
        Box::new(call) as Box<dyn Fn() + Send>
    });
    all_return(calls.into(), Vec::new());
}
