//! The ops against burn's own, over views, and what they refuse.

use burn_tensor::{Device, Distribution, Tensor, activation};
use mamba_kernels_burn::{
    Activation, Batch, CausalConv1d, Cpu, Error, PackedLinear, RmsNorm, SelectiveScan, causal_conv1d,
    rms_norm, selective_scan,
};

const D_STATE: usize = 5;

fn draw<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::default())
}

/// Both are sums of at most some hundred f32 products of numbers of about 1.
fn close<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(found.dims(), expected.dims());
    let apart = (found - expected).abs().max().into_scalar::<f32>();
    assert!(apart < 1e-5, "{apart}");
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().expect("f32")
}

fn scan(batch: usize, tokens: usize, channels: usize) -> SelectiveScan<3> {
    let bc: Tensor<3> = draw([batch, tokens, 2 * D_STATE]);
    SelectiveScan {
        u: draw([batch, tokens, channels]),
        delta: draw([batch, tokens, channels]),
        a: draw([D_STATE, channels]) - 1.5,
        b: bc.clone().narrow(2, 0, D_STATE),
        c: bc.narrow(2, D_STATE, D_STATE),
        n_groups: 1,
        d: Some(draw([channels])),
        z: Some(draw([batch, tokens, channels])),
        delta_bias: Some(draw([channels])),
        delta_softplus: true,
        batch: None,
        state: Some(Tensor::zeros([batch, D_STATE, channels], &Device::default())),
    }
}

/// The formula, with burn's own ops, one token at a time.
fn by_burn(args: &SelectiveScan<3>) -> (Tensor<3>, Tensor<3>) {
    let [_, tokens, _] = args.u.dims();
    let row = |vector: &Option<Tensor<1>>| vector.clone().unwrap().unsqueeze::<3>();
    let mut h = args.state.clone().unwrap();
    let mut outputs = Vec::new();
    for t in 0..tokens {
        let at = |tensor: &Tensor<3>| tensor.clone().narrow(1, t, 1); // [batch, 1, _]
        let delta = ((at(&args.delta) + row(&args.delta_bias)).exp() + 1.0).log();
        let (u, b, c) = (at(&args.u), at(&args.b).swap_dims(1, 2), at(&args.c).swap_dims(1, 2));
        let decay = (delta.clone() * args.a.clone().unsqueeze::<3>()).exp();
        h = h * decay + delta * u.clone() * b;
        let y = (h.clone() * c).sum_dim(1) + u * row(&args.d);
        outputs.push(y * activation::silu(at(args.z.as_ref().unwrap())));
    }
    (Tensor::cat(outputs, 1), h)
}

#[test]
fn the_scan_is_the_formula_and_carries_its_state() {
    let args = scan(2, 9, 7);
    let (expected, last) = by_burn(&args);
    let (found, state) = selective_scan(&Cpu::new(), args.clone()).unwrap();
    close(found.clone(), expected);
    close(state.unwrap(), last);
    // the call shared the caller's state, so it is unchanged
    assert_eq!(values(args.state.clone().unwrap()), vec![0.0; 2 * D_STATE * 7]);
    // two calls, the second with the state of the first
    let part = |start, len, state| {
        let cut = |tensor: &Tensor<3>| tensor.clone().narrow(1, start, len);
        let [u, delta, b, c] = [&args.u, &args.delta, &args.b, &args.c].map(cut);
        let z = args.z.as_ref().map(cut);
        // cutting two sequences leaves a gap between them: the rows are not evenly spaced
        let copy = |tensor: Tensor<3>| Tensor::from_data(tensor.into_data(), &Device::default());
        let [u, delta, b, c] = [u, delta, b, c].map(copy);
        let args = SelectiveScan { u, delta, b, c, z: z.map(copy), state, ..args.clone() };
        selective_scan(&Cpu::new(), args).unwrap()
    };
    let (first, state) = part(0, 4, args.state.clone());
    let (second, _) = part(4, 5, state);
    assert_eq!(values(Tensor::cat(vec![first, second], 1)), values(found));
}

#[test]
fn convolution_products_and_norm_are_burns() {
    let (cpu, tokens, channels, width) = (Cpu::new(), 11, 6, 4);
    let (input, weight, bias) = (draw([tokens, channels]), draw([width, channels]), draw([channels]));
    let padded =
        Tensor::cat(vec![Tensor::zeros([width - 1, channels], &Device::default()), input.clone()], 0);
    let taps = (0..width).map(|j| padded.clone().narrow(0, j, tokens) * weight.clone().narrow(0, j, 1));
    let expected = taps.reduce(|sum, tap| sum + tap).unwrap() + bias.clone().unsqueeze::<2>();
    let args = CausalConv1d {
        input,
        weight,
        bias: Some(bias),
        activation: Activation::Silu,
        batch: Some(Batch::single(tokens)),
        state: None,
    };
    close(causal_conv1d(&cpu, args).unwrap().0, activation::silu(expected));

    let (input, weight, bias) = (draw([2, 5, 12]), draw([8, 12]), draw([8]));
    let flat = input.clone().reshape([10, 12]);
    let expected = flat.matmul(weight.clone().transpose()) + bias.clone().unsqueeze::<2>();
    let packed = PackedLinear::new(&cpu, weight, Some(bias)).unwrap();
    let found = packed.forward(input.clone()).unwrap();
    close(found.clone(), expected.reshape([2, 5, 8]));
    let (x, z) = packed.in_proj(input.clone()).unwrap();
    assert_eq!(values(Tensor::cat(vec![x, z], 2)), values(found));

    let (scale, residual) = (draw([12]), draw([2, 5, 12]));
    let sum = input.clone() + residual.clone();
    let norm = (sum.clone().powf_scalar(2.0).mean_dim(2) + 1e-5).sqrt();
    let args = RmsNorm { input, residual: Some(residual), weight: Some(scale.clone()), eps: 1e-5 };
    let (found, updated) = rms_norm(&cpu, args).unwrap();
    close(found, sum.clone() / norm * scale.unsqueeze::<3>());
    assert_eq!(values(updated.unwrap()), values(sum));
}

#[test]
fn what_is_refused_and_why() {
    let error = |args: SelectiveScan<3>| match selective_scan(&Cpu::new(), args) {
        Err(error @ Error::Argument { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let short = error(SelectiveScan { d: Some(draw([5])), ..scan(1, 4, 6) });
    assert!(short.contains("selective_scan: argument `d`: expected channels = 6, found 5"), "{short}");
    let turned = error(SelectiveScan { u: draw([1, 6, 4]).swap_dims(1, 2), ..scan(1, 4, 6) });
    assert!(turned.contains("argument `u`: expected contiguous rows"), "{turned}");
    // PyTorch's layouts, of as many elements
    let turned = error(SelectiveScan { a: draw([6, D_STATE]), ..scan(1, 4, 6) });
    assert!(turned.contains("argument `a`: expected [d_state, 6], found [6, 5]"), "{turned}");
    let turned = error(SelectiveScan { state: Some(draw([1, 6, D_STATE])), ..scan(1, 4, 6) });
    assert!(turned.contains("argument `state`: expected [slots, 5, 6], found [1, 6, 5]"), "{turned}");
    let other = error(SelectiveScan { delta: draw([4, 2, 6]), ..scan(2, 4, 6) });
    assert!(other.contains("argument `delta`: expected [2, 4, 6], found [4, 2, 6]"), "{other}");
    let other = error(SelectiveScan { b: draw([4, 2, D_STATE]), ..scan(2, 4, 6) });
    assert!(other.contains("argument `b`: expected [2, 4, n_groups * d_state], found [4, 2, 5]"), "{other}");
    let cut = error(SelectiveScan { z: Some(draw([2, 8, 6]).narrow(1, 0, 4)), ..scan(2, 4, 6) });
    assert!(cut.contains("argument `z`: expected contiguous rows, evenly spaced"), "{cut}");

    let device = Device::default().autodiff();
    let tracked = Tensor::<3>::ones([1, 4, 6], &device).require_grad();
    let tracked = error(SelectiveScan { u: tracked, ..scan(1, 4, 6) });
    assert!(
        tracked.contains("argument `u`: expected a tensor on burn's backend flex, without autodiff"),
        "{tracked}"
    );
    let bias = Tensor::<1>::ones([6], &device).require_grad();
    let tracked = error(SelectiveScan { delta_bias: Some(bias), ..scan(1, 4, 6) });
    assert!(tracked.contains("argument `delta_bias`"), "{tracked}");
}

#[test]
fn shapes_of_as_many_elements_are_refused() {
    let cpu = Cpu::new();
    let message = |error: Error| error.to_string();
    let conv = |weight, state| CausalConv1d {
        input: draw([5, 6]),
        weight,
        bias: None,
        activation: Activation::Silu,
        batch: None,
        state,
    };
    let turned = message(causal_conv1d(&cpu, conv(draw([6, 4]), None)).unwrap_err());
    assert!(turned.contains("argument `weight`: expected [d_conv, 6], found [6, 4]"), "{turned}");
    let turned = message(causal_conv1d(&cpu, conv(draw([4, 6]), Some(draw([1, 6, 3])))).unwrap_err());
    assert!(turned.contains("argument `state`: expected [slots, 3, 6], found [1, 6, 3]"), "{turned}");
    let norm = RmsNorm { input: draw([5, 6]), residual: Some(draw([6, 5])), weight: None, eps: 0.0 };
    let turned = message(rms_norm(&cpu, norm).unwrap_err());
    assert!(turned.contains("argument `residual`: expected [5, 6], found [6, 5]"), "{turned}");
}
