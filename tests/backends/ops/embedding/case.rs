//! Cases of `embedding`.

use crate::harness::arrays::{Device, Layout, Matrix, Outcome, Placed, pack};
use crate::harness::case::{Case, Rowwise, Wrong};
use crate::harness::error_analysis::Approx;
use crate::harness::random::Draw;
use crate::harness::shapes;
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Result, Storage, ops};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub struct Spec {
    /// `tokens, vocab, d_model`
    shape: (usize, usize, usize),
    /// Of the weight and the output.
    dtypes: (DType, DType),
    layouts: [Layout; 2],
    seed: u64,
}

#[derive(Clone)]
pub struct Embedding {
    pub tokens: Vec<u32>,
    pub weight: Matrix,
    pub output: Matrix,
}

impl Embedding {
    /// `tokens, vocab, d_model`; the types of the weight and the output. No gaps.
    #[allow(dead_code, reason = "the check of a GPU has shapes of its own")]
    pub fn dense_spec(shape: (usize, usize, usize), dtypes: (DType, DType)) -> Spec {
        Spec { shape, dtypes, layouts: [Layout::DENSE; 2], ..Self::complete() }
    }

    fn run_as<B: Backend, U: Element>(&self, device: &Device<B>, packer: &B) -> (Result<()>, Outcome) {
        // a token out of any vocabulary on either side
        let host: Vec<u32> = [&[u32::MAX], &self.tokens[..], &[u32::MAX]].concat();
        let tokens = device.backend.upload(&host).unwrap();
        let weight = pack(packer, &self.weight, device.format);
        let mut output = Placed::<B, U>::output(device, &self.output);
        let args = ops::Embedding {
            tokens: device.backend.view(&tokens).slice(1..1 + self.tokens.len()).unwrap(),
            weight: &weight,
            output: output.rows_mut(),
        };
        let result = device.backend.embedding(args, &mut device.workspace.borrow_mut());
        (result, Outcome { outputs: vec![("output", output.read())], state: None })
    }
}

impl Case for Embedding {
    type Spec = Spec;
    const NAME: &'static str = "embedding";
    const REGRESSIONS: &'static str = "tests/backends/regressions/embedding.txt";
    const WRONG: &'static [Wrong<Self>] = super::refusals::WRONG;

    fn specs() -> BoxedStrategy<Spec> {
        let shape = (shapes::tokens(), 1..=100usize, shapes::features());
        let dtypes = (shapes::dtypes(), shapes::dtypes());
        let layouts = prop::array::uniform2(shapes::layouts());
        (shape, dtypes, layouts, any::<u64>())
            .prop_map(|(shape, dtypes, layouts, seed)| Spec { shape, dtypes, layouts, seed })
            .boxed()
    }

    fn large() -> Vec<Spec> {
        vec![Spec { shape: (500, 333, 77), ..Self::complete() }]
    }

    fn complete() -> Spec {
        Spec {
            shape: (5, 7, 19),
            dtypes: (DType::F32, DType::F32),
            layouts: [Layout { before: 1, gap: 2, after: 3 }; 2],
            seed: 8,
        }
    }

    fn seed(spec: &Spec) -> u64 {
        spec.seed
    }

    fn draw(spec: &Spec, draw: &mut Draw) -> Self {
        let (tokens, vocab, d_model) = spec.shape;
        let [weight, output] = spec.layouts;
        Self {
            tokens: (0..tokens).map(|_| draw.below(vocab) as u32).collect(),
            weight: draw.matrix((vocab, d_model), spec.dtypes.0, weight, -2.0..2.0),
            output: draw.matrix((tokens, d_model), spec.dtypes.1, output, 5.0..6.0),
        }
    }

    fn run_packed_by<B: Backend>(&self, device: &Device<B>, packer: &B) -> (Result<()>, Outcome) {
        with_element_type!(self.output.dtype, U => self.run_as::<B, U>(device, packer), else => unreachable!("no type of activations"))
    }

    fn before(&self) -> Outcome {
        Outcome { outputs: vec![("output", self.output.clone())], state: None }
    }

    fn dense(&self) -> Self {
        Self { weight: self.weight.dense(), output: self.output.dense(), ..self.clone() }
    }

    /// A copy: exact, with zero for what is subnormal, as weights are packed.
    fn bounds(&self) -> Vec<Vec<Approx>> {
        let rows = self.tokens.iter().map(|&token| self.weight.row(token as usize));
        vec![rows.flatten().map(|&value| Approx::weight(value)).collect()]
    }
}

impl Rowwise for Embedding {
    fn tokens(&self) -> usize {
        self.tokens.len()
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self {
            tokens: rows.iter().map(|&row| self.tokens[row]).collect(),
            output: self.output.select(rows),
            ..self.clone()
        }
    }
}
