//! Ops beside threads that write to what they read: no op may lock a storage twice, nor in an order of its own.

use candle_core::{D, DType, Device, Result, Tensor};
use mamba_kernels::Cpu;
use mamba_kernels::candle::{SelectiveScan, selective_scan};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const CALLS: usize = 20_000;
/// Some hundred times what the calls take.
const PATIENCE: Duration = Duration::from_secs(120);

fn scan(cpu: &Cpu, u: &Tensor, bc: &Tensor, a: &Tensor, state: Option<&Tensor>) -> Result<Tensor> {
    let (b, c) = (bc.narrow(D::Minus1, 0, 2)?, bc.narrow(D::Minus1, 2, 2)?);
    let args = SelectiveScan {
        u,
        delta: u,
        a,
        b: &b,
        c: &c,
        n_groups: 1,
        d: None,
        z: Some(u),
        delta_bias: None,
        delta_softplus: true,
        batch: None,
        state,
    };
    selective_scan(cpu, args)
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).expect("there is memory")
}

/// Runs each of `calls` in a thread of its own until it has been called often enough, and `background` until then.
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
    let (u, bc, a) = (ones(&[2, 2]), ones(&[2, 4]), ones(&[2, 2]));
    let row = ones(&[1, 4]);
    let written = bc.clone();
    let cpu = Cpu::builder().threads(1).build().expect("a CPU");
    let read = move || drop(scan(&cpu, &u, &bc, &a, None).expect("it runs"));
    let write = move || written.slice_set(&row, 0, 0).expect("it is written");
    all_return(vec![Box::new(read)], vec![Box::new(write)]);
}

#[test]
fn each_reads_what_the_other_updates() {
    let (first, second) = (ones(&[1, 2, 2]), ones(&[1, 2, 2]));
    let calls = [(first.clone(), second.clone()), (second, first)].map(|(state, a)| {
        let (u, bc) = (ones(&[2, 2]), ones(&[2, 4]));
        let a = a.squeeze(0).expect("one matrix");
        let cpu = Cpu::builder().threads(1).build().expect("a CPU");
        let call = move || drop(scan(&cpu, &u, &bc, &a, Some(&state)).expect("it runs"));
        Box::new(call) as Box<dyn Fn() + Send>
    });
    all_return(calls.into(), Vec::new());
}
