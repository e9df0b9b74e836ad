//! The selective scan in a program without an ML framework: over plain slices, and over `ndarray` views.
//!
//! The program smooths a signal with sixteen decaying memories per channel. First its arrays are `Vec`s, then
//! the same arrays are `ndarray` matrices, whose column slices are passed as strided views. Nothing is copied.
//!
//! `cargo run --release --example plain_scan`

use mamba_kernels::ops::SelectiveScan;
use mamba_kernels::{Backend, Batch, Cpu, Error, Result, Rows};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

const TOKENS: usize = 200;
const CHANNELS: usize = 8;
const D_STATE: usize = 16;

fn main() -> Result<()> {
    let cpu = Cpu::new();
    println!("on {}", cpu.description());

    let u: Vec<f32> = (0..TOKENS * CHANNELS).map(|i| (i as f32 * 0.7).sin()).collect();
    let delta = vec![-2.0f32; TOKENS * CHANNELS];
    let a: Vec<f32> = (0..D_STATE * CHANNELS).map(|i| -((i / CHANNELS + 1) as f32)).collect();
    let bc: Vec<f32> = (0..TOKENS * 2 * D_STATE).map(|i| (i as f32 * 0.3).cos()).collect();

    let mut y = vec![0.0f32; TOKENS * CHANNELS];
    over_slices(&cpu, &u, &delta, &a, &bc, &mut y)?;

    let u = Array2::from_shape_vec((TOKENS, CHANNELS), u).expect("the shape matches the data");
    let delta = Array2::from_shape_vec((TOKENS, CHANNELS), delta).expect("the shape matches the data");
    let a = Array2::from_shape_vec((D_STATE, CHANNELS), a).expect("the shape matches the data");
    let bc = Array2::from_shape_vec((TOKENS, 2 * D_STATE), bc).expect("the shape matches the data");
    let mut same = Array2::zeros((TOKENS, CHANNELS));
    over_views(&cpu, u.view(), delta.view(), a.view(), bc.view(), same.view_mut())?;
    assert_eq!(same.as_slice(), Some(&y[..]));

    // the rows of a transposed view are not contiguous: that is an error, and the caller decides whether to copy
    let turned = u.t();
    let error = rows(turned, "u").expect_err("its rows are not contiguous");
    println!("a transposed view is refused: {error}");
    println!("y[{}] = {:?}", TOKENS - 1, &y[y.len() - CHANNELS..]);
    Ok(())
}

/// The scan over slices of one sequence that starts from a state of zeros.
fn over_slices(cpu: &Cpu, u: &[f32], delta: &[f32], a: &[f32], bc: &[f32], y: &mut [f32]) -> Result<()> {
    let bc = Rows::new(bc, TOKENS, 2 * D_STATE)?; // B and C side by side
    let args = SelectiveScan::<Cpu, f32> {
        u: Rows::new(u, TOKENS, CHANNELS)?,
        delta: Rows::new(delta, TOKENS, CHANNELS)?,
        a,
        b: bc.columns(0..D_STATE)?,
        c: bc.columns(D_STATE..2 * D_STATE)?,
        n_groups: 1,
        d: None,
        z: None,
        delta_bias: None,
        delta_softplus: true,
        batch: &Batch::single(TOKENS),
        state: None,
        output: Rows::new(y, TOKENS, CHANNELS)?,
    };
    cpu.selective_scan(args, &mut Default::default())
}

/// The scan over `ndarray` views in standard layout.
fn over_views(
    cpu: &Cpu,
    u: ArrayView2<'_, f32>,
    delta: ArrayView2<'_, f32>,
    a: ArrayView2<'_, f32>,
    bc: ArrayView2<'_, f32>,
    y: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    let (tokens, channels) = u.dim();
    let bc = rows(bc, "bc")?;
    let d_state = bc.cols() / 2;
    let args = SelectiveScan::<Cpu, f32> {
        u: rows(u, "u")?,
        delta: rows(delta, "delta")?,
        a: rows(a, "a")?.into_data(),
        b: bc.columns(0..d_state)?,
        c: bc.columns(d_state..2 * d_state)?,
        n_groups: 1,
        d: None,
        z: None,
        delta_bias: None,
        delta_softplus: true,
        batch: &Batch::single(tokens),
        state: None,
        output: Rows::new(y.into_slice().ok_or_else(|| strided("y"))?, tokens, channels)?,
    };
    cpu.selective_scan(args, &mut Default::default())
}

/// [`Rows`] over a matrix in standard layout, without a copy.
fn rows<'a>(view: ArrayView2<'a, f32>, argument: &'static str) -> Result<Rows<&'a [f32]>> {
    let (rows, cols) = view.dim();
    Rows::new(view.to_slice().ok_or_else(|| strided(argument))?, rows, cols)
}

fn strided(argument: &'static str) -> Error {
    let (expected, found) = ("an array in standard layout".into(), "another layout".into());
    Error::Argument { op: "selective_scan", argument, expected, found }
}
