//! Cases of `in_proj`.

use super::Linear;
use crate::harness::arrays::{Device, Layout, Matrix, Outcome, Placed, pack};
use crate::harness::case::{Case, Rowwise, Wrong};
use crate::harness::error_analysis::Approx;
use crate::harness::random::Draw;
use crate::harness::shapes;
use mamba_kernels::ops::{self, Epilogue};
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Result};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub struct Spec {
    /// `tokens, d_model, d_inner`
    shape: (usize, usize, usize),
    /// Of the input and the outputs, and of the weight.
    dtypes: (DType, DType),
    layouts: [Layout; 4],
    bias: bool,
    seed: u64,
}

#[derive(Clone)]
pub struct InProj {
    pub input: Matrix,
    pub weight: Matrix,
    pub bias: Option<Matrix>,
    pub x: Matrix,
    pub z: Matrix,
}

impl InProj {
    /// `tokens, d_model, d_inner`; the types of the input and outputs, and of the weight. No gaps, no bias.
    #[allow(dead_code, reason = "the check of a GPU has shapes of its own")]
    pub fn dense_spec(shape: (usize, usize, usize), dtypes: (DType, DType)) -> Spec {
        Spec { shape, dtypes, bias: false, layouts: [Layout::DENSE; 4], ..Self::complete() }
    }

    /// The two linears that write `x` and `z`.
    pub fn halves(&self) -> [Linear; 2] {
        let d_inner = self.x.cols;
        let half = |first: usize, output: &Matrix| Linear {
            input: self.input.clone(),
            weight: self.weight.select(&(first..first + d_inner).collect::<Vec<_>>()),
            bias: self.bias.as_ref().map(|bias| Matrix::vector(bias.values[first..][..d_inner].to_vec())),
            epilogue: Epilogue::Store,
            output: output.clone(),
        };
        [half(0, &self.x), half(d_inner, &self.z)]
    }

    fn run_as<B: Backend, T: Element>(&self, device: &Device<B>, packer: &B) -> (Result<()>, Outcome) {
        let input = Placed::<B, T>::input(device, &self.input);
        let weight = pack(packer, &self.weight, device.format);
        let bias = self.bias.as_ref().map(|bias| Placed::<B, f32>::input(device, bias));
        let mut x = Placed::<B, T>::output(device, &self.x);
        let mut z = Placed::<B, T>::output(device, &self.z);
        let args = ops::InProj {
            input: input.rows(),
            weight: &weight,
            bias: bias.as_ref().map(Placed::view),
            outputs: [x.rows_mut(), z.rows_mut()],
        };
        let result = device.backend.in_proj(args, &mut device.workspace.borrow_mut());
        (result, Outcome { outputs: vec![("x", x.read()), ("z", z.read())], state: None })
    }
}

impl Case for InProj {
    type Spec = Spec;
    const NAME: &'static str = "in_proj";
    const REGRESSIONS: &'static str = "tests/backends/regressions/in_proj.txt";
    const WRONG: &'static [Wrong<Self>] = super::refusals::IN_PROJ;

    fn specs() -> BoxedStrategy<Spec> {
        let shape = (shapes::tokens(), shapes::features(), shapes::features());
        let dtypes = (shapes::dtypes(), shapes::dtypes());
        let layouts = prop::array::uniform4(shapes::layouts());
        (shape, dtypes, layouts, any::<bool>(), any::<u64>())
            .prop_map(|(shape, dtypes, layouts, bias, seed)| Spec { shape, dtypes, layouts, bias, seed })
            .boxed()
    }

    fn large() -> Vec<Spec> {
        let shapes = [(451, 3, 9), (29, 50, 131)];
        shapes.map(|shape| Spec { shape, ..Self::complete() }).into()
    }

    fn complete() -> Spec {
        Spec {
            shape: (5, 7, 19),
            dtypes: (DType::F32, DType::F32),
            layouts: [Layout { before: 1, gap: 2, after: 3 }; 4],
            bias: true,
            seed: 6,
        }
    }

    fn seed(spec: &Spec) -> u64 {
        spec.seed
    }

    fn draw(spec: &Spec, draw: &mut Draw) -> Self {
        let ((tokens, d_model, d_inner), (dtype, weights)) = (spec.shape, spec.dtypes);
        let [input, weight, x, z] = spec.layouts;
        Self {
            input: draw.matrix((tokens, d_model), dtype, input, -2.0..2.0),
            weight: draw.matrix((2 * d_inner, d_model), weights, weight, -1.0..1.0),
            bias: spec.bias.then(|| {
                let length = 2 * d_inner;
                draw.vector(length, -1.0..1.0)
            }),
            x: draw.matrix((tokens, d_inner), dtype, x, 5.0..6.0),
            z: draw.matrix((tokens, d_inner), dtype, z, 5.0..6.0),
        }
    }

    fn run_packed_by<B: Backend>(&self, device: &Device<B>, packer: &B) -> (Result<()>, Outcome) {
        with_element_type!(self.input.dtype, T => self.run_as::<B, T>(device, packer), else => unreachable!("no type of activations"))
    }

    fn before(&self) -> Outcome {
        Outcome { outputs: vec![("x", self.x.clone()), ("z", self.z.clone())], state: None }
    }

    fn dense(&self) -> Self {
        Self {
            input: self.input.dense(),
            weight: self.weight.dense(),
            bias: self.bias.as_ref().map(Matrix::dense),
            x: self.x.dense(),
            z: self.z.dense(),
        }
    }

    fn bounds(&self) -> Vec<Vec<Approx>> {
        self.halves().iter().map(super::error_analysis::linear).collect()
    }
}

impl Rowwise for InProj {
    fn tokens(&self) -> usize {
        self.input.rows
    }

    fn select(&self, rows: &[usize]) -> Self {
        let [input, x, z] = [&self.input, &self.x, &self.z].map(|matrix| matrix.select(rows));
        Self { input, x, z, ..self.clone() }
    }
}
