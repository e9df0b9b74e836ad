//! The ops on candle's tensors: against candle's own, over views, and what they refuse.

use candle_core::{D, DType, Device, Module, Result, Tensor, Var};
use mamba_kernels::ops::{Activation, Epilogue};
use mamba_kernels::{Batch, Cpu};
use mamba_kernels_candle::{
    CausalConv1d, PackedLinear, RmsNorm, SelectiveScan, candle_error, causal_conv1d, rms_norm, selective_scan,
};

/// Numbers in [-1, 1) that are the same in every run.
fn draw(seed: u32, shape: &[usize]) -> Result<Tensor> {
    let mut seed = seed;
    let values = (0..shape.iter().product::<usize>()).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let values = tensor.contiguous()?.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

/// Both are sums of at most some hundred f32 products of numbers of about 1.
fn close(found: &Tensor, expected: &Tensor) -> Result<()> {
    assert_eq!(found.dims(), expected.dims());
    let apart = (found - expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    assert!(apart < 1e-5, "{apart}");
    Ok(())
}

struct Scan {
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    bc: Tensor,
    d: Tensor,
    z: Tensor,
    bias: Tensor,
}

const D_STATE: usize = 5;

impl Scan {
    fn new(batch: usize, tokens: usize, channels: usize) -> Result<Self> {
        Ok(Self {
            u: draw(1, &[batch, tokens, channels])?,
            delta: draw(2, &[batch, tokens, channels])?,
            a: (draw(3, &[D_STATE, channels])? - 1.5)?,
            bc: draw(4, &[batch, tokens, 2 * D_STATE])?,
            d: draw(5, &[channels])?,
            z: draw(6, &[batch, tokens, channels])?,
            bias: draw(7, &[channels])?,
        })
    }

    /// The formula, with candle's own ops, one token at a time.
    fn by_candle(&self) -> Result<(Tensor, Tensor)> {
        let (batch, tokens, channels) = self.u.dims3()?;
        let mut h = Tensor::zeros((batch, D_STATE, channels), DType::F32, &Device::Cpu)?;
        let mut outputs = Vec::new();
        for t in 0..tokens {
            let at = |tensor: &Tensor| tensor.narrow(1, t, 1); // [batch, 1, _]
            let delta = ((at(&self.delta)?.broadcast_add(&self.bias)?.exp()? + 1.0)?).log()?;
            let u = at(&self.u)?;
            let b = at(&self.bc)?.narrow(2, 0, D_STATE)?.transpose(1, 2)?; // [batch, n, 1]
            let c = at(&self.bc)?.narrow(2, D_STATE, D_STATE)?.transpose(1, 2)?;
            let decay = delta.broadcast_mul(&self.a)?.exp()?;
            h = ((h * decay)? + (delta * &u)?.broadcast_mul(&b)?)?;
            let y = (h.broadcast_mul(&c)?.sum_keepdim(1)? + u.broadcast_mul(&self.d)?)?;
            outputs.push((y * candle_nn::ops::silu(&at(&self.z)?)?)?);
        }
        Ok((Tensor::cat(&outputs, 1)?, h))
    }

    fn run(&self, state: Option<&Tensor>, batch: Option<&Batch>) -> Result<Tensor> {
        let (b, c) = (self.bc.narrow(D::Minus1, 0, D_STATE)?, self.bc.narrow(D::Minus1, D_STATE, D_STATE)?);
        let args = SelectiveScan {
            u: &self.u,
            delta: &self.delta,
            a: &self.a,
            b: &b,
            c: &c,
            n_groups: 1,
            d: Some(&self.d),
            z: Some(&self.z),
            delta_bias: Some(&self.bias),
            delta_softplus: true,
            batch,
            state,
        };
        selective_scan(&Cpu::new(), args)
    }
}

#[test]
fn the_scan_is_the_formula_and_updates_its_state() -> Result<()> {
    let scan = Scan::new(2, 9, 7)?;
    let (expected, last) = scan.by_candle()?;
    let state = Tensor::zeros((2, D_STATE, 7), DType::F32, &Device::Cpu)?;
    let found = scan.run(Some(&state), None)?;
    close(&found, &expected)?;
    close(&state, &last)?;
    assert_eq!(bits(&scan.run(None, None)?)?, bits(&found)?);
    Ok(())
}

#[test]
fn rows_of_a_wider_tensor_and_ragged_batches_need_no_copy() -> Result<()> {
    let mut scan = Scan::new(1, 12, 6)?;
    for tensor in [&mut scan.u, &mut scan.delta, &mut scan.z, &mut scan.bc] {
        *tensor = tensor.squeeze(0)?;
    }
    let batch = Batch::from_lengths(&[5, 0, 7]).map_err(candle_error)?;
    let expected = scan.run(None, Some(&batch))?;
    // u and z are now columns of one tensor, in the middle of its rows
    let wide = Tensor::cat(&[&scan.z, &scan.u, &scan.z], 1)?;
    (scan.u, scan.z) = (wide.narrow(1, 6, 6)?, wide.narrow(1, 12, 6)?);
    assert!(!scan.u.is_contiguous());
    assert_eq!(bits(&scan.run(None, Some(&batch))?)?, bits(&expected)?);
    // and the second half of a longer tensor
    let long = Tensor::cat(&[&scan.delta, &scan.delta], 0)?;
    scan.delta = long.narrow(0, 12, 12)?;
    assert_eq!(bits(&scan.run(None, Some(&batch))?)?, bits(&expected)?);
    Ok(())
}

#[test]
fn half_precision_goes_in_and_out() -> Result<()> {
    let mut scan = Scan::new(1, 8, 16)?;
    for dtype in [DType::F16, DType::BF16] {
        for tensor in [&mut scan.u, &mut scan.delta, &mut scan.z, &mut scan.bc] {
            *tensor = tensor.to_dtype(dtype)?;
        }
        let found = scan.run(None, None)?;
        assert_eq!(found.dtype(), dtype);
        for tensor in [&mut scan.u, &mut scan.delta, &mut scan.z, &mut scan.bc] {
            *tensor = tensor.to_dtype(DType::F32)?;
        }
        // inputs are the same numbers: the f32 scan rounded once is the narrow scan
        assert_eq!(bits(&found)?, bits(&scan.run(None, None)?.to_dtype(dtype)?)?);
    }
    Ok(())
}

#[test]
fn the_convolution_is_candles() -> Result<()> {
    let (tokens, channels, width) = (11, 6, 4);
    let (input, weight, bias) =
        (draw(1, &[tokens, channels])?, draw(2, &[width, channels])?, draw(3, &[channels])?);
    let taps = weight.t()?.unsqueeze(1)?.contiguous()?; // [channels, 1, width]
    let padded = input.t()?.unsqueeze(0)?.contiguous()?;
    let expected = padded.conv1d(&taps, width - 1, 1, 1, channels)?.narrow(2, 0, tokens)?;
    let expected = expected.squeeze(0)?.t()?.broadcast_add(&bias)?;
    let expected = candle_nn::ops::silu(&expected.contiguous()?)?;
    let state = Tensor::zeros((1, width - 1, channels), DType::F32, &Device::Cpu)?;
    let run = |input: &Tensor, state: Option<&Tensor>| {
        let (activation, bias) = (Activation::Silu, Some(&bias));
        causal_conv1d(
            &Cpu::new(),
            CausalConv1d { input, weight: &weight, bias, activation, batch: None, state },
        )
    };
    close(&run(&input, None)?, &expected)?;
    let halves = [run(&input.narrow(0, 0, 5)?, Some(&state))?, run(&input.narrow(0, 5, 6)?, Some(&state))?];
    assert_eq!(bits(&Tensor::cat(&halves, 0)?)?, bits(&run(&input, None)?)?);
    assert_eq!(bits(&state.squeeze(0)?)?, bits(&input.narrow(0, tokens - 3, 3)?)?);
    Ok(())
}

#[test]
fn matrix_products_and_norms_are_candles() -> Result<()> {
    let cpu = Cpu::new();
    let (input, weight, bias) = (draw(1, &[2, 5, 12])?, draw(2, &[8, 12])?, draw(3, &[8])?);
    let expected = candle_nn::Linear::new(weight.clone(), Some(bias.clone())).forward(&input)?;
    let packed = PackedLinear::new(&cpu, &weight, Some(&bias))?;
    close(&packed.forward(&input)?, &expected)?;
    let (x, z) = packed.in_proj(&input)?;
    assert!(x.is_contiguous() && z.is_contiguous());
    assert_eq!(bits(&Tensor::cat(&[x, z], D::Minus1)?)?, bits(&packed.forward(&input)?)?);
    let softplus = (expected.exp()? + 1.0)?.log()?;
    close(&packed.forward_with(&input, Epilogue::Softplus)?, &softplus)?;

    let (scale, eps) = (draw(4, &[12])?, 1e-5);
    let expected = candle_nn::RmsNorm::new(scale.clone(), eps as f64).forward(&input)?;
    let norm = |residual| RmsNorm { input: &input, residual, weight: Some(&scale), eps };
    close(&rms_norm(&cpu, norm(None))?, &expected)?;
    let residual = draw(5, &[2, 5, 12])?;
    let sum = (&input + &residual)?;
    let found = rms_norm(&cpu, norm(Some(&residual)))?;
    close(&found, &candle_nn::RmsNorm::new(scale.clone(), eps as f64).forward(&sum)?)?;
    assert_eq!(bits(&residual)?, bits(&sum)?);
    Ok(())
}

#[test]
fn what_is_refused_and_why() -> Result<()> {
    let error = |result: Result<Tensor>| result.expect_err("it is wrong").to_string();
    let refused = |change: &dyn Fn(&mut Scan) -> Result<()>| {
        let mut scan = Scan::new(1, 4, 6)?;
        change(&mut scan)?;
        Ok::<_, candle_core::Error>(error(scan.run(None, None)))
    };
    let short = refused(&|scan| {
        scan.d = draw(1, &[5])?;
        Ok(())
    })?;
    assert!(short.contains("selective_scan: argument `d`: expected channels = 6, found 5"), "{short}");
    let turned = refused(&|scan| {
        scan.u = draw(1, &[1, 6, 4])?.transpose(1, 2)?;
        Ok(())
    })?;
    assert!(turned.contains("argument `u`: expected contiguous rows"), "{turned}");
    let broadcast = refused(&|scan| {
        scan.z = draw(1, &[6])?.broadcast_as((1, 4, 6))?;
        Ok(())
    })?;
    assert!(broadcast.contains("argument `z`: expected contiguous rows"), "{broadcast}");
    let mixed = refused(&|scan| {
        scan.delta = scan.delta.to_dtype(DType::F16)?;
        Ok(())
    })?;
    assert!(mixed.contains("argument `delta`: expected f32"), "{mixed}");
    let double = refused(&|scan| {
        scan.u = scan.u.to_dtype(DType::F64)?;
        Ok(())
    })?;
    assert!(double.contains("expected f32, f16 or bf16, found f64"), "{double}");
    // PyTorch's layouts have the right number of elements
    let pytorch = refused(&|scan| {
        scan.a = scan.a.t()?.contiguous()?;
        Ok(())
    })?;
    assert!(
        pytorch.contains(&format!("argument `a`: expected [d_state, 6], found [6, {D_STATE}]")),
        "{pytorch}"
    );
    let pytorch = Tensor::zeros((1, 6, D_STATE), DType::F32, &Device::Cpu)?;
    let pytorch = error(Scan::new(1, 4, 6)?.run(Some(&pytorch), None));
    assert!(pytorch.contains("argument `state`: expected [slots, d_state, 6]"), "{pytorch}");
    // no op has a backward pass: a tracked tensor is refused instead of losing its gradient
    for change in [
        (|scan| {
            scan.u = Var::from_tensor(&scan.u)?.as_tensor().clone();
            Ok(())
        }) as fn(&mut Scan) -> Result<()>,
        |scan| {
            scan.a = Var::from_tensor(&scan.a)?.as_tensor().affine(1.0, 0.0)?;
            Ok(())
        },
    ] {
        let tracked = refused(&change)?;
        assert!(tracked.contains("backward is not supported for selective_scan"), "{tracked}");
    }
    // a state in storage that the op reads: an error, not a deadlock
    let scan = Scan::new(1, 4, 6)?;
    let shared = error(scan.run(Some(&scan.u.narrow(1, 0, 1)?), None));
    assert!(shared.contains("argument `state`: expected storage of its own"), "{shared}");
    let narrow = Tensor::zeros((1, D_STATE, 6), DType::F16, &Device::Cpu)?;
    assert!(error(scan.run(Some(&narrow), None)).contains("argument `state`: expected f32"));
    Ok(())
}
