//! Arrays without columns take no memory, whatever their number of rows: calls with them return at once.

use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, InProj, Linear, RmsNorm, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cpu, Error, Memory, Reference, Rows};
use std::sync::mpsc;
use std::time::Duration;

const ROWS: usize = 1 << 60;

/// A backend whose arrays are slices.
trait OnTheHost: Backend + for<'a> Memory<View<'a, f32> = &'a [f32], ViewMut<'a, f32> = &'a mut [f32]> {}

impl OnTheHost for Reference {}
impl OnTheHost for Cpu {}

/// Runs every op in a thread of its own and fails if one takes longer than it possibly can.
fn returns<B: OnTheHost + 'static>(backend: B) {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for (name, op) in ops::<B>() {
            send.send((name, None)).unwrap();
            let result = op(&backend).map_err(|error| error.to_string());
            send.send((name, Some(result))).unwrap();
        }
    });
    let mut running = "none";
    loop {
        match receive.recv_timeout(Duration::from_secs(60)) {
            Ok((name, None)) => running = name,
            Ok((name, Some(result))) => println!("{name}: {result:?}"), // refused or done
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{running} does not return"),
        }
    }
}

type Op<B> = fn(&B) -> Result<(), Error>;

fn ops<B: OnTheHost>() -> [(&'static str, Op<B>); 7] {
    [
        ("pack", |backend| backend.pack(rows()).map(drop)),
        ("linear", |backend| {
            let weight = backend.pack(Rows::new(&[0.0f32; 0][..], 0, 0)?)?;
            let args = Linear::<B, f32, f32> {
                input: rows(),
                weight: &weight,
                bias: None,
                epilogue: Epilogue::Store,
                output: rows_mut(),
            };
            backend.linear(args, &mut Default::default())
        }),
        ("in_proj", |backend| {
            let weight = backend.pack(Rows::new(&[0.0f32; 0][..], 0, 0)?)?;
            let outputs = [rows_mut(), rows_mut()];
            let args = InProj::<B, f32, 2> { input: rows(), weight: &weight, bias: None, outputs };
            backend.in_proj(args, &mut Default::default())
        }),
        ("causal_conv1d", |backend| {
            let args = CausalConv1d::<B, f32> {
                input: rows(),
                weight: &[],
                bias: None,
                activation: Activation::Silu,
                batch: &Batch::single(ROWS),
                state: None,
                output: rows_mut(),
            };
            backend.causal_conv1d(args, &mut Default::default())
        }),
        ("selective_scan", |backend| {
            let args = SelectiveScan::<B, f32> {
                u: rows(),
                delta: rows(),
                a: &[],
                b: rows(),
                c: rows(),
                n_groups: 1,
                d: None,
                z: None,
                delta_bias: None,
                delta_softplus: false,
                batch: &Batch::single(ROWS),
                state: None,
                output: rows_mut(),
            };
            backend.selective_scan(args, &mut Default::default())
        }),
        ("rms_norm", |backend| {
            let args = RmsNorm::<B, f32, f32> {
                input: rows(),
                residual: None,
                weight: None,
                eps: 1e-5,
                output: rows_mut(),
            };
            backend.rms_norm(args, &mut Default::default())
        }),
        ("padding", |backend| {
            let slot = mamba_kernels::Slot::PADDING;
            let args = CausalConv1d::<B, f32> {
                input: rows(),
                weight: &[],
                bias: None,
                activation: Activation::Silu,
                batch: &Batch::new(&[0, ROWS], &[slot])?,
                state: None,
                output: rows_mut(),
            };
            backend.causal_conv1d(args, &mut Default::default())
        }),
    ]
}

fn rows() -> Rows<&'static [f32]> {
    Rows::new(&[][..], ROWS, 0).unwrap()
}

fn rows_mut() -> Rows<&'static mut [f32]> {
    Rows::new(&mut [][..], ROWS, 0).unwrap()
}

#[test]
fn reference() {
    returns(Reference);
}

#[test]
fn cpu() {
    returns(Cpu::builder().threads(2).build().unwrap());
}
