//! Cases of `rms_norm`.

use crate::harness::arrays::{Device, Layout, Matrix, Outcome, Placed};
use crate::harness::case::{Case, Rowwise, Wrong};
use crate::harness::error_analysis::Approx;
use crate::harness::random::Draw;
use crate::harness::shapes;
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Result, ops};
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
pub struct Spec {
    tokens: usize,
    channels: usize,
    /// Of the input and the output.
    dtypes: (DType, DType),
    layouts: [Layout; 3],
    residual: bool,
    weight: bool,
    eps: f32,
    /// The magnitude of the input.
    scale: f32,
    seed: u64,
}

#[derive(Clone)]
pub struct RmsNorm {
    pub input: Matrix,
    pub residual: Option<Matrix>,
    pub weight: Option<Matrix>,
    pub eps: f32,
    pub output: Matrix,
}

impl RmsNorm {
    /// With a residual and a weight; the types of the input and the output. No gaps.
    #[allow(dead_code, reason = "the check of a GPU has shapes of its own")]
    pub fn dense_spec(tokens: usize, channels: usize, dtypes: (DType, DType)) -> Spec {
        Spec { tokens, channels, dtypes, layouts: [Layout::DENSE; 3], ..Self::complete() }
    }

    fn run_as<B: Backend, T: Element, U: Element>(&self, device: &Device<B>) -> (Result<()>, Outcome) {
        let input = Placed::<B, T>::input(device, &self.input);
        let mut residual = self.residual.as_ref().map(|rows| Placed::<B, f32>::output(device, rows));
        let weight = self.weight.as_ref().map(|weight| Placed::<B, f32>::input(device, weight));
        let mut output = Placed::<B, U>::output(device, &self.output);
        let args = ops::RmsNorm {
            input: input.rows(),
            residual: residual.as_mut().map(Placed::rows_mut),
            weight: weight.as_ref().map(Placed::view),
            eps: self.eps,
            output: output.rows_mut(),
        };
        let result = device.backend.rms_norm(args, &mut device.workspace.borrow_mut());
        let mut outputs = vec![("output", output.read())];
        outputs.extend(residual.map(|residual| ("residual", residual.read())));
        (result, Outcome { outputs, state: None })
    }
}

impl Case for RmsNorm {
    type Spec = Spec;
    const NAME: &'static str = "rms_norm";
    const REGRESSIONS: &'static str = "tests/backends/regressions/rms_norm.txt";
    const WRONG: &'static [Wrong<Self>] = super::refusals::WRONG;

    fn specs() -> BoxedStrategy<Spec> {
        let shape = (shapes::tokens(), shapes::channels());
        let dtypes = (shapes::dtypes(), shapes::dtypes());
        let layouts = prop::array::uniform3(shapes::layouts());
        let flags = (any::<bool>(), any::<bool>());
        let (eps, scale) = (select(vec![0.0, 1e-6, 1e-5, 1e-2]), select(vec![1e-3, 1.0, 30.0]));
        (shape, dtypes, layouts, flags, eps, scale, any::<u64>())
            .prop_map(|((tokens, channels), dtypes, layouts, (residual, weight), eps, scale, seed)| Spec {
                tokens,
                channels,
                dtypes,
                layouts,
                residual,
                weight,
                eps,
                scale,
                seed,
            })
            .boxed()
    }

    fn large() -> Vec<Spec> {
        vec![Spec { tokens: 130, channels: 530, ..Self::complete() }]
    }

    fn complete() -> Spec {
        Spec {
            tokens: 5,
            channels: 19,
            dtypes: (DType::F32, DType::F32),
            layouts: [Layout { before: 1, gap: 2, after: 3 }; 3],
            residual: true,
            weight: true,
            eps: 1e-5,
            scale: 1.0,
            seed: 7,
        }
    }

    fn seed(spec: &Spec) -> u64 {
        spec.seed
    }

    fn draw(spec: &Spec, draw: &mut Draw) -> Self {
        let (shape, range) = ((spec.tokens, spec.channels), -spec.scale..spec.scale);
        let [input, residual, output] = spec.layouts;
        Self {
            input: draw.matrix(shape, spec.dtypes.0, input, range.clone()),
            residual: spec.residual.then(|| draw.matrix(shape, DType::F32, residual, range)),
            weight: spec.weight.then(|| draw.vector(spec.channels, -2.0..2.0)),
            eps: spec.eps,
            output: draw.matrix(shape, spec.dtypes.1, output, 5.0..6.0),
        }
    }

    fn run_packed_by<B: Backend>(&self, device: &Device<B>, _: &B) -> (Result<()>, Outcome) {
        with_element_type!(self.input.dtype, T => with_element_type!(self.output.dtype, U => {
            self.run_as::<B, T, U>(device)
        }, else => unreachable!("no type of activations")), else => unreachable!("no type of activations"))
    }

    fn before(&self) -> Outcome {
        let mut outputs = vec![("output", self.output.clone())];
        outputs.extend(self.residual.iter().map(|residual| ("residual", residual.clone())));
        Outcome { outputs, state: None }
    }

    fn dense(&self) -> Self {
        Self {
            input: self.input.dense(),
            residual: self.residual.as_ref().map(Matrix::dense),
            weight: self.weight.as_ref().map(Matrix::dense),
            eps: self.eps,
            output: self.output.dense(),
        }
    }

    fn bounds(&self) -> Vec<Vec<Approx>> {
        super::error_analysis::rms_norm(self)
    }
}

impl Rowwise for RmsNorm {
    fn tokens(&self) -> usize {
        self.input.rows
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self {
            input: self.input.select(rows),
            residual: self.residual.as_ref().map(|residual| residual.select(rows)),
            output: self.output.select(rows),
            ..self.clone()
        }
    }
}
