//! A block's ops on tensors of candle's CUDA device, compared with the CPU. It has not run on a GPU yet.
//!
//! `cargo run --release --manifest-path bindings/candle/Cargo.toml --features cuda --example candle_cuda`

use candle_core::{D, DType, Device, Module, Result, Tensor};
use mamba_kernels::Cpu;
use mamba_kernels_candle::{
    Cuda, PackedLinear, RmsNorm, SelectiveScan, TensorBackend, rms_norm, selective_scan,
};

const D_STATE: usize = 16;

/// Norm, x_proj and scan over tensors of one device. The state is updated in place.
fn block<B: TensorBackend>(
    backend: &B,
    u: &Tensor,
    a: &Tensor,
    x_proj: &Tensor,
    state: &Tensor,
) -> Result<Tensor> {
    let u = rms_norm(backend, RmsNorm { input: u, residual: None, weight: None, eps: 1e-5 })?;
    let bc = PackedLinear::new(backend, x_proj, None)?.forward(&u)?;
    let args = SelectiveScan {
        u: &u,
        delta: &u,
        a,
        b: &bc.narrow(D::Minus1, 0, D_STATE)?, // views: nothing is copied
        c: &bc.narrow(D::Minus1, D_STATE, D_STATE)?,
        n_groups: 1,
        d: None,
        z: None,
        delta_bias: None,
        delta_softplus: true,
        batch: None,
        state: Some(state),
    };
    selective_scan(backend, args)
}

fn main() -> Result<()> {
    let device = Device::new_cuda(0)?;
    let cuda = Cuda::new(&device)?; // on candle's own stream; keep it
    let (batch, tokens, channels) = (2, 100, 64);
    let [u, a, x_proj] = [[batch * tokens, channels], [D_STATE, channels], [2 * D_STATE, channels]]
        .map(|shape| Tensor::randn(0f32, 0.5, &shape[..], &Device::Cpu));
    let (u, a, x_proj) = (u?.reshape((batch, tokens, channels))?, a?.abs()?.neg()?, x_proj?);
    let state = Tensor::zeros((batch, D_STATE, channels), DType::F32, &Device::Cpu)?;
    let [gpu_u, gpu_a, gpu_state] = [&u, &a, &state].map(|tensor| tensor.to_device(&device));
    let (gpu_u, gpu_a, gpu_state) = (gpu_u?, gpu_a?, gpu_state?);

    let expected = block(&Cpu::new(), &u, &a, &x_proj, &state)?;
    let found = block(&cuda, &gpu_u, &gpu_a, &x_proj, &gpu_state)?;
    let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    assert_eq!(flat(&found)?, flat(&expected)?, "outputs");
    assert_eq!(flat(&gpu_state)?, flat(&state)?, "states");
    println!("the bits of the CPU");
    Ok(())
}
