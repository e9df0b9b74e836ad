//! The bits of every op against the CPU, in the shapes of real models; each form of a kernel, forced; and inexact forms
//! within their bounds.

use crate::harness::arrays::{Device, same_bits};
use crate::harness::case::Case;
use crate::harness::random::Flavour;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan, linear};
use crate::properties::cuda_inexact;
use crate::target::{D_CONV, D_STATE, Shape, TYPES, Target};
use mamba_kernels::cpu::{CpuBuilder, ScanOrder};
use mamba_kernels::cuda::{CudaBuilder, LinearKernel};
use mamba_kernels::ops::Epilogue;
use mamba_kernels::{Backend, Cpu, DType, Rows};
use std::num::NonZeroUsize;

/// A check by name, which fails by a panic.
pub type NamedCheck<'a> = (String, Box<dyn Fn() + Send + Sync + 'a>);

/// The rows of the inexact scan's chunks.
const CHUNK: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// A case has the bits of the CPU, on its fastest path.
fn equals_cpu<C: Case>(
    target: &Target,
    choose: impl Fn(CudaBuilder) -> CudaBuilder,
    cpu: impl Fn(CpuBuilder) -> CpuBuilder,
    spec: &C::Spec,
    flavour: Flavour,
) {
    let case = C::of(spec, flavour);
    let expected = case.run(&Device::new(cpu(Cpu::builder()).build().unwrap()));
    let found = target.with(choose, |device| case.run(device));
    found.same_bits(&expected, "against the CPU").unwrap_or_else(|error| panic!("{error}"));
}

/// Collects checks of specs.
struct Checks<'a> {
    target: &'a Target,
    checks: Vec<NamedCheck<'a>>,
}

impl<'a> Checks<'a> {
    fn exact<C: Case>(&mut self, name: String, spec: C::Spec)
    where
        C::Spec: Send + Sync + 'a,
    {
        self.with::<C>(name, spec, |builder| builder);
    }

    fn with<C: Case>(
        &mut self,
        name: String,
        spec: C::Spec,
        choose: impl Fn(CudaBuilder) -> CudaBuilder + Copy + Send + Sync + 'a,
    ) where
        C::Spec: Send + Sync + 'a,
    {
        let target = self.target;
        let check = move || {
            equals_cpu::<C>(target, choose, |cpu| cpu, &spec, Flavour::Plain);
            equals_cpu::<C>(target, choose, |cpu| cpu, &spec, Flavour::Special);
        };
        self.checks.push((name, Box::new(check)));
    }

    fn other(&mut self, name: &str, check: impl Fn() + Send + Sync + 'a) {
        self.checks.push((name.into(), Box::new(check)));
    }
}

/// Sequences of these lengths, the last but one of several being padding.
fn ragged(lengths: &[usize]) -> Vec<(usize, bool)> {
    let padding = lengths.len().checked_sub(2).filter(|&index| index > 0);
    lengths.iter().enumerate().map(|(i, &length)| (length, Some(i) == padding)).collect()
}

/// What `for_each_op!` makes here: the large cases of every op of the suite, so that an op's kernels are launched whether
/// or not it has shapes of its own below.
macro_rules! suite {
    ($suite:ident $make:ident($name:literal):
        $($kind:ident $group:ident: $case:ident $(, $property:ident)*;)+) => {
        fn $make(checks: &mut Checks<'_>) {
            $(large::<$case>(checks, $name);)+
        }
    };
}
macro_rules! properties {
    ($($none:tt)*) => {};
}
for_each_op!(exact every_op("bits/large"));

fn large<C: Case>(checks: &mut Checks<'_>, name: &str)
where
    C::Spec: Send + Sync + 'static,
{
    for (i, spec) in C::large().into_iter().enumerate() {
        checks.exact::<C>(format!("{name}/{}/{i}", C::NAME), spec);
    }
}

/// All checks of bits.
pub fn checks(target: &Target) -> Vec<NamedCheck<'_>> {
    let mut checks = Checks { target, checks: Vec::new() };
    every_op(&mut checks);
    for (i, shape) in target.models().iter().enumerate() {
        products(&mut checks, shape, i == 0);
        sequences(&mut checks, shape, i == 0);
    }
    forms(&mut checks);
    inexact(&mut checks);
    checks.other("bits/argmax", || argmax(target));
    checks.checks
}

/// The matrix products, norm and embedding of a model; `all` types and numbers of tokens, or a few.
fn products(checks: &mut Checks<'_>, shape: &Shape, all: bool) {
    let Shape { name, d_model, d_inner, dt_rank, vocab, .. } = *shape;
    let target = checks.target;
    let tokens: &[usize] = match (target.small, all) {
        (true, _) => &[1, 8, 9, 130],
        (_, true) => &[1, 2, 7, 8, 9, 64, 300, 2048],
        _ => &[1, 9, 300],
    };
    let weights = if all { &TYPES[..] } else { &TYPES[2..] };
    for &tokens in tokens {
        for &weight in weights {
            let types = |op: &str| format!("bits/{name}/{op}/m{tokens}/{}", weight.name());
            let f32_by = (DType::F32, weight, DType::F32);
            let in_proj = InProj::dense_spec((tokens, d_model, d_inner), (DType::F32, weight));
            checks.exact::<InProj>(types("in_proj"), in_proj);
            for (op, k, n, epilogue) in [
                ("x_proj", d_inner, dt_rank + 2 * D_STATE, Epilogue::Store),
                ("dt_proj", dt_rank, d_inner, Epilogue::Softplus),
                ("out_proj", d_inner, d_model, Epilogue::Residual),
            ] {
                checks.exact::<Linear>(types(op), Linear::dense_spec((tokens, k, n), f32_by, epilogue));
            }
        }
        let norm = RmsNorm::dense_spec(tokens, d_model, (DType::F32, DType::F32));
        checks.exact::<RmsNorm>(format!("bits/{name}/rms_norm/m{tokens}"), norm);
    }
    for dtype in TYPES {
        let name = |op: &str| format!("bits/{name}/{op}/{}", dtype.name());
        let embedding =
            Embedding::dense_spec((tokens[tokens.len() - 1], vocab, d_model), (dtype, DType::F32));
        checks.exact::<Embedding>(name("embedding"), embedding);
        // activations of all types
        let product =
            Linear::dense_spec((17, d_model, d_inner), (dtype, DType::BF16, dtype), Epilogue::Store);
        checks.exact::<Linear>(name("linear/activations"), product);
        let norm = RmsNorm::dense_spec(9, d_inner, (dtype, dtype));
        checks.exact::<RmsNorm>(name("rms_norm/activations"), norm);
    }
    if all {
        let heads = target.pick(&[1, 9, 64][..], &[1, 9]);
        for &tokens in heads {
            let head = (tokens, d_model, vocab);
            let head = Linear::dense_spec(head, (DType::F32, DType::BF16, DType::F32), Epilogue::Store);
            checks.exact::<Linear>(format!("bits/{name}/lm_head/m{tokens}"), head);
        }
    }
}

/// The convolution and the scan of a model.
fn sequences(checks: &mut Checks<'_>, shape: &Shape, all: bool) {
    let Shape { name, d_inner, .. } = *shape;
    let target = checks.target;
    let long = target.pick(if all { 2048 } else { 300 }, 200);
    let batches: [(&str, Vec<(usize, bool)>); 4] = [
        ("prefill", ragged(&[long])),
        ("decode", ragged(&vec![1; target.pick(64, 5)])),
        ("spans", ragged(&[1, 63, 64, 65, 130])),
        ("ragged", ragged(&[300, 1, 7, 1, 129])),
    ];
    for (batch, lengths) in &batches {
        for dtype in TYPES {
            let conv = CausalConv1d::dense_spec(lengths, d_inner, D_CONV, dtype);
            checks.exact::<CausalConv1d>(format!("bits/{name}/causal_conv1d/{batch}/{}", dtype.name()), conv);
            let scan = SelectiveScan::dense_spec(lengths, d_inner, D_STATE, dtype);
            checks
                .exact::<SelectiveScan>(format!("bits/{name}/selective_scan/{batch}/{}", dtype.name()), scan);
        }
    }
    if !all {
        return;
    }
    for d_conv in [2, 3, 6] {
        for dtype in TYPES {
            let conv = CausalConv1d::dense_spec(&batches[2].1, d_inner, d_conv, dtype);
            checks.exact::<CausalConv1d>(format!("bits/causal_conv1d/taps{d_conv}/{}", dtype.name()), conv);
        }
    }
    for d_state in [1, 20, 64, 65, 256] {
        let scan = SelectiveScan::dense_spec(&ragged(&[5, 70, 3]), 49, d_state, DType::F32);
        checks.exact::<SelectiveScan>(format!("bits/selective_scan/states{d_state}"), scan);
    }
}

/// Each kernel of the exact product, for few and many rows and for sizes off its tiles.
fn forms(checks: &mut Checks<'_>) {
    let sizes = checks
        .target
        .pick(&[(1, 300, 200), (130, 260, 261), (300, 768, 1000)][..], &[(1, 300, 70), (70, 40, 150)]);
    for form in LinearKernel::ALL {
        for &size in sizes {
            for weight in TYPES {
                let spec = Linear::dense_spec(size, (DType::F32, weight, DType::F32), Epilogue::Residual);
                let (m, k, n) = size;
                let name = format!("forms/{form:?}/m{m}_k{k}_n{n}/{}", weight.name());
                checks.with::<Linear>(name, spec, move |builder| builder.linear_kernel(form));
            }
        }
        // whatever strides and offsets the suite draws
        let name = format!("forms/{form:?}/complete");
        checks.with::<Linear>(name, Linear::complete(), move |builder| builder.linear_kernel(form));
    }
}

/// The inexact forms: bounds, and the bits of the CPU's scan in the same chunks.
fn inexact(checks: &mut Checks<'_>) {
    let target = checks.target;
    let fast = |builder: CudaBuilder| builder.tensor_cores().parallel_scan();
    type Property = fn(&[Device<mamba_kernels::Cuda>]);
    let bounds: [(&str, Property); 3] = [
        ("inexact/linear", cuda_inexact::linear_is_within_its_bound),
        ("inexact/in_proj", cuda_inexact::in_proj_is_within_its_bound),
        ("inexact/selective_scan", cuda_inexact::scan_is_within_its_bound),
    ];
    for (name, property) in bounds {
        let check = move || {
            let device = [Device::new(target.cuda(fast))];
            property(&device);
            target.count(&device[0].backend);
        };
        checks.other(name, check);
    }
    for (m, k, n) in target.pick(&[(130, 260, 261), (300, 768, 1000), (2048, 1536, 80)][..], &[(20, 70, 140)])
    {
        for weight in [DType::F16, DType::BF16] {
            for input in TYPES {
                let spec = Linear::dense_spec((*m, *k, *n), (input, weight, DType::F32), Epilogue::Store);
                let check = move || {
                    let case = Linear::of(&spec, Flavour::Plain);
                    let bounds = [linear::error_analysis::linear_on_tensor_cores(&case)];
                    let check = |device: &Device<_>| cuda_inexact::within(device, &case, &bounds, &mut 0.0);
                    target.with(fast, check).unwrap_or_else(|error| panic!("{error}"));
                };
                let types = format!("{}_{}", input.name(), weight.name());
                checks.other(&format!("inexact/linear/m{m}_k{k}_n{n}/{types}"), check);
            }
        }
    }
    let long = target.pick(2048, 300);
    for (d_state, channels) in [(16, target.pick(1536, 33)), (20, 33), (256, 17)] {
        for dtype in [DType::F32, DType::BF16] {
            let spec = SelectiveScan::dense_spec(&ragged(&[3, 130, long]), channels, d_state, dtype);
            let check = move || {
                let cpu = |cpu: CpuBuilder| cpu.scan_order(ScanOrder::Chunked { tokens: CHUNK });
                equals_cpu::<SelectiveScan>(target, fast, cpu, &spec, Flavour::Plain);
            };
            checks.other(&format!("inexact/chunks/states{d_state}/{}", dtype.name()), check);
        }
    }
}

/// The first of the largest of each row, and none in a row with a NaN.
fn argmax(target: &Target) {
    target.with(
        |builder| builder,
        |device| {
            let (cuda, columns) = (&device.backend, target.pick(50280, 700));
            let value = |i: usize| ((i * 37 + i / 101 * 11) % 1009) as f32;
            let mut rows: Vec<f32> = (0..3 * columns).map(value).collect();
            rows[2 * columns + 5] = f32::NAN;
            let input = cuda.upload(&rows).unwrap();
            let mut output = cuda.upload(&[9u32; 3]).unwrap();
            let input = Rows::new(cuda.view(&input), 3, columns).unwrap();
            cuda.argmax(input, cuda.view_mut(&mut output), &mut device.workspace.borrow_mut()).unwrap();
            let mut found = [0u32; 3];
            cuda.read(cuda.view(&output), &mut found).unwrap();
            let first = |row: &[f32]| {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter().position(|&value| value == largest).unwrap() as f32
            };
            let expected = [first(&rows[..columns]), first(&rows[columns..2 * columns]), u32::MAX as f32];
            same_bits(&found.map(|column| column as f32), &expected, 1, "argmax").unwrap();
        },
    );
}
