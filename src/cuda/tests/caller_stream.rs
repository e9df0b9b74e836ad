//! Ops over the caller's memory, together with the caller's own work, on the checked executor.

use crate::arrays::{Batch, Error, Rows, Storage};
use crate::backend::Backend;
use crate::cpu::Cpu;
use crate::cuda::driver::executor::device::{Check, Executor};
use crate::cuda::driver::interface::Driver;
use crate::cuda::{Cuda, View, ViewMut, Workspace};
use crate::ops::Activation;
use crate::ops::{CausalConv1d, RmsNorm, SelectiveScan};

/// A program that has a device, and memory of its own there.
struct Caller(Executor);

impl Caller {
    fn new() -> Self {
        Self(Executor::new(Check::Checked).unwrap())
    }

    fn cuda(&self) -> Cuda {
        Cuda::builder().over("cuda-executor", Box::new(self.0.clone())).unwrap()
    }

    fn put(&self, values: &[f32]) -> u64 {
        let address = self.0.alloc(values.len() * 4).unwrap();
        self.0.upload(bytemuck::cast_slice(values), address).unwrap();
        address
    }

    fn get(&self, address: u64, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        self.0.download(address, bytemuck::cast_slice_mut(&mut values)).unwrap();
        values
    }
}

fn numbers(seed: u32, len: usize) -> Vec<f32> {
    let mut seed = seed;
    let draw = |_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(draw).collect()
}

fn read<'a>(cuda: &Cuda, address: u64, len: usize) -> View<'a, f32> {
    // SAFETY: the tests keep the memory, and wait for what they have handed over.
    unsafe { cuda.view_at(address, len) }.unwrap()
}

fn write<'a>(cuda: &Cuda, address: u64, len: usize) -> ViewMut<'a, f32> {
    // SAFETY: as for `read`, and each address is in one view of an op that writes.
    unsafe { cuda.view_mut_at(address, len) }.unwrap()
}

const TOKENS: usize = 70;
const CHANNELS: usize = 20;
const D_STATE: usize = 5;
const LEN: usize = TOKENS * CHANNELS;

/// The scan of a backend, over arrays in the order of the arguments.
fn scan<'a, B: Backend>(
    backend: &B,
    [u, delta, a, bc]: [B::View<'a, f32>; 4],
    [state, output]: [B::ViewMut<'a, f32>; 2],
    batch: &'a Batch,
    workspace: &mut B::Workspace,
) {
    let bc = Rows::new(bc, TOKENS, 2 * D_STATE).unwrap();
    let args = SelectiveScan::<B, f32> {
        u: Rows::new(u, TOKENS, CHANNELS).unwrap(),
        delta: Rows::new(delta, TOKENS, CHANNELS).unwrap(),
        a,
        b: bc.columns(0..D_STATE).unwrap(),
        c: bc.columns(D_STATE..2 * D_STATE).unwrap(),
        n_groups: 1,
        d: None,
        z: None,
        delta_bias: None,
        delta_softplus: true,
        batch,
        state: Some(state),
        output: Rows::new(output, TOKENS, CHANNELS).unwrap(),
    };
    backend.selective_scan(args, workspace).unwrap();
}

#[test]
fn ops_over_a_callers_memory_give_the_bits_of_the_cpu() {
    let caller = Caller::new();
    let batch = Batch::from_lengths(&[TOKENS - 3, 3]).unwrap();
    let [u, delta, a, bc] = [(1, LEN), (2, LEN), (3, D_STATE * CHANNELS), (4, TOKENS * 2 * D_STATE)]
        .map(|(seed, len)| numbers(seed, len));
    let mut expected_state = numbers(5, 2 * D_STATE * CHANNELS);
    let mut expected = vec![0.0; LEN];
    let places = [&u, &delta, &a, &bc, &expected_state].map(|values| caller.put(values));
    let output = caller.0.alloc(LEN * 4).unwrap();
    let inputs = [&u[..], &delta[..], &a[..], &bc[..]];
    let outputs = [&mut expected_state[..], &mut expected[..]];
    scan::<Cpu>(&Cpu::new(), inputs, outputs, &batch, &mut Default::default());

    let cuda = caller.cuda();
    let lens = [LEN, LEN, a.len(), bc.len()];
    let inputs = [0, 1, 2, 3].map(|i| read(&cuda, places[i], lens[i]));
    let outputs = [write(&cuda, places[4], expected_state.len()), write(&cuda, output, LEN)];
    let mut workspace = Workspace::default();
    scan::<Cuda>(&cuda, inputs, outputs, &batch, &mut workspace);

    // what follows on the stream, here another op of the caller's, sees what the scan has written
    let normed = caller.0.alloc(LEN * 4).unwrap();
    let norm = RmsNorm::<Cuda, f32, f32> {
        input: Rows::new(read(&cuda, output, LEN), TOKENS, CHANNELS).unwrap(),
        residual: None,
        weight: None,
        eps: 1e-5,
        output: Rows::new(write(&cuda, normed, LEN), TOKENS, CHANNELS).unwrap(),
    };
    cuda.rms_norm(norm, &mut workspace).unwrap();
    // backend, workspace and views give back their own memory and none of the caller's
    drop((cuda, workspace));

    assert_eq!(caller.get(output, LEN), expected);
    assert_eq!(caller.get(places[4], expected_state.len()), expected_state);
    let mut expected_norm = vec![0.0; LEN];
    let norm = RmsNorm::<Cpu, f32, f32> {
        input: Rows::new(&expected[..], TOKENS, CHANNELS).unwrap(),
        residual: None,
        weight: None,
        eps: 1e-5,
        output: Rows::new(&mut expected_norm[..], TOKENS, CHANNELS).unwrap(),
    };
    Cpu::new().rms_norm(norm, &mut Default::default()).unwrap();
    assert_eq!(caller.get(normed, LEN), expected_norm);
    for address in places.into_iter().chain([output, normed]) {
        caller.0.free(address); // the executor refuses an address that was given back before
    }
}

/// Columns of a wider array, in the middle of an allocation, at an address that no 16-byte access suits.
#[test]
fn a_view_may_begin_anywhere() {
    let caller = Caller::new();
    let (tokens, channels, stride, offset) = (9, 6, 13, 3);
    let wide = numbers(1, offset + tokens * stride);
    let weight = numbers(2, 4 * channels);
    let (wide_at, weight_at) = (caller.put(&wide), caller.put(&weight));
    let output = caller.0.alloc(tokens * channels * 4).unwrap();
    let batch = Batch::single(tokens);
    let cuda = caller.cuda();
    let conv = CausalConv1d::<Cuda, f32> {
        input: Rows::strided(read(&cuda, wide_at + 4, wide.len() - 1), offset - 1, tokens, channels, stride)
            .unwrap(),
        weight: read(&cuda, weight_at, weight.len()),
        bias: None,
        activation: Activation::Silu,
        batch: &batch,
        state: None,
        output: Rows::new(write(&cuda, output, tokens * channels), tokens, channels).unwrap(),
    };
    cuda.causal_conv1d(conv, &mut Workspace::default()).unwrap();
    let mut expected = vec![0.0; tokens * channels];
    let conv = CausalConv1d::<Cpu, f32> {
        input: Rows::strided(&wide[..], offset, tokens, channels, stride).unwrap(),
        weight: &weight[..],
        bias: None,
        activation: Activation::Silu,
        batch: &batch,
        state: None,
        output: Rows::new(&mut expected[..], tokens, channels).unwrap(),
    };
    Cpu::new().causal_conv1d(conv, &mut Default::default()).unwrap();
    assert_eq!(caller.get(output, expected.len()), expected);
}

/// A view that says more than there is: the kernel's access is refused, as on the executor every one is checked.
#[test]
fn a_view_past_the_callers_memory_is_caught() {
    let caller = Caller::new();
    let input = caller.put(&numbers(1, 30));
    let output = caller.0.alloc(32 * 4).unwrap();
    let cuda = caller.cuda();
    let norm = RmsNorm::<Cuda, f32, f32> {
        input: Rows::new(read(&cuda, input, 32), 2, 16).unwrap(),
        residual: None,
        weight: None,
        eps: 1e-5,
        output: Rows::new(write(&cuda, output, 32), 2, 16).unwrap(),
    };
    let error = cuda.rms_norm(norm, &mut Workspace::default()).unwrap_err();
    assert!(matches!(error, Error::Device { .. }), "{error}");
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let caller = Caller::new();
    let cuda = caller.cuda();
    // SAFETY: none of them becomes an array.
    let refused = |address, len| unsafe { cuda.view_at::<f32>(address, len) }.unwrap_err().to_string();
    assert!(refused(2, 1).contains("argument `address`: expected a multiple of 4, above 0, found 2"));
    assert!(refused(0, 1).contains("argument `address`"));
    assert!(refused(4, usize::MAX / 2).contains("argument `len`"));
    assert!(refused(u64::MAX - 3, 1).contains("argument `len`"));
    // SAFETY: an array without elements.
    assert!(unsafe { cuda.view_mut_at::<f32>(0, 0) }.is_ok());
    let view = write(&cuda, 256, 8);
    let (first, second) = view.split_at(5).unwrap();
    assert_eq!((Storage::elements(&first), Storage::elements(&second)), (5, 3));
    assert!(second.split_at(4).is_err());
}
