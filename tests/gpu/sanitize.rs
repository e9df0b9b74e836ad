//! A few dozen fixed small cases in one context, for compute-sanitizer, which slows a kernel down by orders of magnitude.

use crate::bits::NamedCheck;
use crate::harness::arrays::Device;
use crate::harness::case::Case;
use crate::harness::random::Flavour;
use crate::model;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};
use crate::target::{Shape, TYPES, Target};
use mamba_kernels::cuda::{CudaBuilder, LinearKernel};
use mamba_kernels::ops::Epilogue;
use mamba_kernels::{Cpu, Cuda, DType};
use std::sync::Arc;

/// A model that is small enough.
const TINY: Shape = Shape { name: "tiny", d_model: 24, d_inner: 40, dt_rank: 3, layers: 2, vocab: 40 };

/// The cases of one op on one backend: those that the suite calls large and complete, and more.
fn cases<C: Case>(
    checks: &mut Vec<NamedCheck<'_>>,
    name: &str,
    cuda: &Arc<Cuda>,
    exact: bool,
    more: Vec<C::Spec>,
) where
    C::Spec: Send + Sync + 'static,
{
    let specs = [C::complete()].into_iter().chain(C::large()).chain(more);
    for (i, spec) in specs.enumerate() {
        let cuda = cuda.clone();
        let check = move || {
            let case = C::of(&spec, Flavour::Plain);
            let found = case.run(&Device::new((*cuda).clone()));
            if exact {
                let expected = case.run(&Device::new(Cpu::new()));
                found.same_bits(&expected, "against the CPU").unwrap_or_else(|error| panic!("{error}"));
            }
        };
        checks.push((format!("sanitize/{name}/{i}"), Box::new(check)));
    }
}

pub fn checks(target: &Target) -> Vec<NamedCheck<'_>> {
    let mut checks: Vec<NamedCheck<'_>> = Vec::new();
    let exact = Arc::new(target.cuda(|builder| builder));
    cases::<InProj>(&mut checks, "in_proj", &exact, true, vec![]);
    cases::<RmsNorm>(&mut checks, "rms_norm", &exact, true, vec![]);
    cases::<Embedding>(&mut checks, "embedding", &exact, true, vec![]);
    cases::<CausalConv1d>(&mut checks, "causal_conv1d", &exact, true, vec![]);
    let lengths = [(3, false), (20, true), (140, false)];
    let states = |d_state, dtype| SelectiveScan::dense_spec(&lengths, 19, d_state, dtype);
    let scans = || vec![states(16, DType::F16), states(40, DType::F32), states(70, DType::BF16)];
    cases::<SelectiveScan>(&mut checks, "selective_scan", &exact, true, scans());
    for form in LinearKernel::ALL {
        let cuda = Arc::new(target.cuda(move |builder| builder.linear_kernel(form)));
        cases::<Linear>(&mut checks, &format!("linear/{form:?}"), &cuda, true, vec![]);
    }
    let fast = Arc::new(target.cuda(|builder: CudaBuilder| builder.tensor_cores().parallel_scan()));
    let narrow = TYPES
        .map(|weight| Linear::dense_spec((20, 70, 140), (DType::F32, weight, DType::F32), Epilogue::Store));
    cases::<Linear>(&mut checks, "linear/tensor_cores", &fast, false, narrow.into());
    cases::<SelectiveScan>(&mut checks, "selective_scan/chunks", &fast, false, scans());
    checks
        .push(("sanitize/model, with recorded steps".into(), Box::new(|| model::small_bits(target, &TINY))));
    checks
}
