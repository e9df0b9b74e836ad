//! Calls of the ops on values by index: what this benchmark times, and what `tests/subnormals.rs` watches.

use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, Linear, RmsNorm, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cpu, Rows, WeightFormat};

/// A run of an op.
pub type Run = Box<dyn FnMut()>;

/// A number for each index.
pub type Values = fn(usize) -> f32;

/// Ordinary numbers of both signs, of magnitude 1.
pub fn ordinary(i: usize) -> f32 {
    let unit = (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 65536.0;
    if i.is_multiple_of(3) { -0.5 - unit } else { 0.5 + unit }
}

pub fn positive(i: usize) -> f32 {
    ordinary(i).abs()
}

fn list(values: Values, count: usize) -> Vec<f32> {
    (0..count).map(values).collect()
}

/// The arrays of a scan of one sequence, by index.
#[derive(Clone, Copy)]
pub struct ScanValues {
    pub u: Values,
    pub delta: Values,
    pub softplus: bool,
    pub a: Values,
    pub bc: Values,
    pub d: Option<Values>,
    pub z: Option<Values>,
    pub state: Values,
    /// Whether each run starts from `state`, or from where the one before ended.
    pub restart: bool,
}

pub const SCAN: ScanValues = ScanValues {
    u: ordinary,
    delta: |i| 0.02 * positive(i),
    softplus: false,
    a: |i| -positive(i),
    bc: ordinary,
    d: None,
    z: None,
    state: ordinary,
    restart: true,
};

/// A scan of `tokens`, `channels` and `d_state`.
pub fn scan(cpu: &Cpu, [tokens, channels, d_state]: [usize; 3], values: ScanValues) -> Run {
    let cpu = cpu.clone();
    let (u, delta) = (list(values.u, tokens * channels), list(values.delta, tokens * channels));
    let (a, bc) = (list(values.a, d_state * channels), list(values.bc, tokens * 2 * d_state));
    let d = values.d.map(|d| list(d, channels));
    let z = values.z.map(|z| list(z, tokens * channels));
    let first = list(values.state, d_state * channels);
    let (mut state, mut output) = (first.clone(), vec![0.0f32; tokens * channels]);
    let (batch, mut workspace) = (Batch::single(tokens), Default::default());
    Box::new(move || {
        if values.restart {
            state.copy_from_slice(&first);
        }
        let bc = Rows::new(&bc[..], tokens, 2 * d_state).unwrap();
        let args = SelectiveScan::<Cpu, f32> {
            u: Rows::new(&u[..], tokens, channels).unwrap(),
            delta: Rows::new(&delta[..], tokens, channels).unwrap(),
            a: &a,
            b: bc.columns(0..d_state).unwrap(),
            c: bc.columns(d_state..2 * d_state).unwrap(),
            n_groups: 1,
            d: d.as_deref(),
            z: z.as_ref().map(|z| Rows::new(&z[..], tokens, channels).unwrap()),
            delta_bias: None,
            delta_softplus: values.softplus,
            batch: &batch,
            state: Some(&mut state[..]),
            output: Rows::new(&mut output[..], tokens, channels).unwrap(),
        };
        cpu.selective_scan(args, &mut workspace).unwrap();
    })
}

/// A convolution whose sums are of about the size of its inputs, and SiLU.
pub fn conv(cpu: &Cpu, [tokens, channels]: [usize; 2], input: Values) -> Run {
    let cpu = cpu.clone();
    let input = list(input, tokens * channels);
    let weight = vec![0.25f32; 4 * channels];
    let (mut output, batch) = (vec![0.0f32; tokens * channels], Batch::single(tokens));
    Box::new(move || {
        let args = CausalConv1d::<Cpu, f32> {
            input: Rows::new(&input[..], tokens, channels).unwrap(),
            weight: &weight,
            bias: None,
            activation: Activation::Silu,
            batch: &batch,
            state: None,
            output: Rows::new(&mut output[..], tokens, channels).unwrap(),
        };
        cpu.causal_conv1d(args, &mut Default::default()).unwrap();
    })
}

/// A product of `tokens` x `k` x `n` and its epilogue.
pub fn linear(
    cpu: &Cpu,
    (tokens, k, n): (usize, usize, usize),
    input: Values,
    weight: Values,
    epilogue: Epilogue,
    format: WeightFormat,
) -> Run {
    let cpu = cpu.clone();
    let (input, weight) = (list(input, tokens * k), list(weight, n * k));
    let weight = cpu.pack_as(Rows::new(&weight[..], n, k).unwrap(), format).unwrap();
    let (mut output, mut workspace) = (vec![0.0f32; tokens * n], Default::default());
    Box::new(move || {
        let args = Linear::<Cpu, f32, f32> {
            input: Rows::new(&input[..], tokens, k).unwrap(),
            weight: &weight,
            bias: None,
            epilogue,
            output: Rows::new(&mut output[..], tokens, n).unwrap(),
        };
        cpu.linear(args, &mut workspace).unwrap();
    })
}

pub fn norm(cpu: &Cpu, [tokens, channels]: [usize; 2], input: Values) -> Run {
    let cpu = cpu.clone();
    let input = list(input, tokens * channels);
    let mut output = vec![0.0f32; tokens * channels];
    Box::new(move || {
        let args = RmsNorm::<Cpu, f32, f32> {
            input: Rows::new(&input[..], tokens, channels).unwrap(),
            residual: None,
            weight: None,
            eps: 1e-5,
            output: Rows::new(&mut output[..], tokens, channels).unwrap(),
        };
        cpu.rms_norm(args, &mut Default::default()).unwrap();
    })
}
