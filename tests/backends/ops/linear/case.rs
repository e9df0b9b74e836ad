//! Cases of `linear`.

use crate::harness::arrays::{Device, Layout, Matrix, Outcome, Placed, pack};
use crate::harness::case::{Case, Rowwise, Wrong};
use crate::harness::error_analysis::Approx;
use crate::harness::random::Draw;
use crate::harness::shapes;
use mamba_kernels::ops::{self, Epilogue};
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Result};
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
pub struct Spec {
    /// `tokens, in_features, out_features`
    shape: (usize, usize, usize),
    /// Of the input, the weight and the output.
    dtypes: (DType, DType, DType),
    layouts: [Layout; 3],
    bias: bool,
    epilogue: Epilogue,
    seed: u64,
}

#[derive(Clone)]
pub struct Linear {
    pub input: Matrix,
    pub weight: Matrix,
    pub bias: Option<Matrix>,
    pub epilogue: Epilogue,
    pub output: Matrix,
}

impl Linear {
    /// `tokens, in_features, out_features`; the types of the input, the weight and the output. No gaps.
    #[allow(dead_code, reason = "the check of a GPU has shapes of its own")]
    pub fn dense_spec(
        shape: (usize, usize, usize),
        dtypes: (DType, DType, DType),
        epilogue: Epilogue,
    ) -> Spec {
        Spec { shape, dtypes, epilogue, layouts: [Layout::DENSE; 3], ..Self::complete() }
    }

    fn run_as<B: Backend, T: Element, U: Element>(
        &self,
        device: &Device<B>,
        packer: &B,
    ) -> (Result<()>, Outcome) {
        let input = Placed::<B, T>::input(device, &self.input);
        let weight = pack(packer, &self.weight, device.format);
        let bias = self.bias.as_ref().map(|bias| Placed::<B, f32>::input(device, bias));
        let mut output = Placed::<B, U>::output(device, &self.output);
        let args = ops::Linear {
            input: input.rows(),
            weight: &weight,
            bias: bias.as_ref().map(Placed::view),
            epilogue: self.epilogue,
            output: output.rows_mut(),
        };
        let result = device.backend.linear(args, &mut device.workspace.borrow_mut());
        (result, Outcome { outputs: vec![("output", output.read())], state: None })
    }
}

impl Case for Linear {
    type Spec = Spec;
    const NAME: &'static str = "linear";
    const REGRESSIONS: &'static str = "tests/backends/regressions/linear.txt";
    const WRONG: &'static [Wrong<Self>] = super::refusals::LINEAR;

    fn specs() -> BoxedStrategy<Spec> {
        let shape = (shapes::tokens(), shapes::features(), shapes::features());
        let dtypes = (shapes::dtypes(), shapes::dtypes(), shapes::dtypes());
        let layouts = prop::array::uniform3(shapes::layouts());
        let epilogue = select(vec![Epilogue::Store, Epilogue::Softplus, Epilogue::Residual]);
        (shape, dtypes, layouts, any::<bool>(), epilogue, any::<u64>())
            .prop_map(|(shape, dtypes, layouts, bias, epilogue, seed)| Spec {
                shape,
                dtypes,
                layouts,
                bias,
                epilogue,
                seed,
            })
            .boxed()
    }

    fn large() -> Vec<Spec> {
        // more rows than a block; sums too long for a cache; few rows; few columns, none of it in f32
        let shape = |shape| Spec { shape, epilogue: Epilogue::Residual, ..Self::complete() };
        let narrow = (DType::BF16, DType::F16, DType::BF16);
        vec![
            shape((460, 20, 17)),
            shape((30, 4100, 20)),
            shape((29, 100, 210)),
            shape((5, 300, 150)),
            Spec { dtypes: narrow, ..shape((100, 200, 5)) },
            Spec { dtypes: narrow, ..shape((3, 200, 300)) },
        ]
    }

    fn complete() -> Spec {
        Spec {
            shape: (5, 7, 19),
            dtypes: (DType::F32, DType::F32, DType::F32),
            layouts: [Layout { before: 1, gap: 2, after: 3 }; 3],
            bias: true,
            epilogue: Epilogue::Store,
            seed: 5,
        }
    }

    fn seed(spec: &Spec) -> u64 {
        spec.seed
    }

    fn draw(spec: &Spec, draw: &mut Draw) -> Self {
        let (tokens, k, n) = spec.shape;
        let [input, weight, output] = spec.layouts;
        Self {
            input: draw.matrix((tokens, k), spec.dtypes.0, input, -2.0..2.0),
            weight: draw.matrix((n, k), spec.dtypes.1, weight, -1.0..1.0),
            bias: spec.bias.then(|| draw.vector(n, -1.0..1.0)),
            epilogue: spec.epilogue,
            output: draw.matrix((tokens, n), spec.dtypes.2, output, -2.0..2.0),
        }
    }

    fn run_packed_by<B: Backend>(&self, device: &Device<B>, packer: &B) -> (Result<()>, Outcome) {
        with_element_type!(self.input.dtype, T => with_element_type!(self.output.dtype, U => {
            self.run_as::<B, T, U>(device, packer)
        }, else => unreachable!("no type of activations")), else => unreachable!("no type of activations"))
    }

    fn before(&self) -> Outcome {
        Outcome { outputs: vec![("output", self.output.clone())], state: None }
    }

    fn dense(&self) -> Self {
        Self {
            input: self.input.dense(),
            weight: self.weight.dense(),
            bias: self.bias.as_ref().map(Matrix::dense),
            epilogue: self.epilogue,
            output: self.output.dense(),
        }
    }

    fn bounds(&self) -> Vec<Vec<Approx>> {
        vec![super::error_analysis::linear(self)]
    }
}

impl Rowwise for Linear {
    fn tokens(&self) -> usize {
        self.input.rows
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self { input: self.input.select(rows), output: self.output.select(rows), ..self.clone() }
    }
}
