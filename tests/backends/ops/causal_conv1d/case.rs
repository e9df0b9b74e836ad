//! Cases of `causal_conv1d`.

use crate::harness::arrays::{Device, Layout, Matrix, Outcome, Placed};
use crate::harness::case::{Case, Sequential, Wrong};
use crate::harness::error_analysis::Approx;
use crate::harness::random::{Draw, Sequences};
use crate::harness::shapes;
use mamba_kernels::ops::{self, Activation};
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Result};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub struct Spec {
    sequences: Vec<(usize, bool)>,
    channels: usize,
    d_conv: usize,
    dtype: DType,
    layouts: [Layout; 2],
    /// Of weight, bias and state: at a multiple of 16 bytes, as the arrays of a model are.
    aligned: bool,
    bias: bool,
    silu: bool,
    state: bool,
    seed: u64,
}

#[derive(Clone)]
pub struct CausalConv1d {
    pub sequences: Sequences,
    pub input: Matrix,
    /// `[d_conv, channels]`
    pub weight: Matrix,
    pub bias: Option<Matrix>,
    pub activation: Activation,
    /// `[slots, (d_conv - 1) * channels]`
    pub state: Option<Matrix>,
    pub output: Matrix,
}

impl CausalConv1d {
    /// The length of each sequence and whether it is padding. No gaps; all arrays at multiples of 16 bytes.
    #[allow(dead_code, reason = "the check of a GPU has shapes of its own")]
    pub fn dense_spec(sequences: &[(usize, bool)], channels: usize, d_conv: usize, dtype: DType) -> Spec {
        let (sequences, layouts) = (sequences.to_vec(), [Layout::DENSE; 2]);
        Spec { sequences, channels, d_conv, dtype, layouts, aligned: true, ..Self::complete() }
    }

    fn run_as<B: Backend, T: Element>(&self, device: &Device<B>) -> (Result<()>, Outcome) {
        let batch = self.sequences.batch();
        let input = Placed::<B, T>::input(device, &self.input);
        let weight = Placed::<B, f32>::input(device, &self.weight);
        let bias = self.bias.as_ref().map(|bias| Placed::<B, f32>::input(device, bias));
        let mut state = self.state.as_ref().map(|state| Placed::<B, f32>::output(device, state));
        let mut output = Placed::<B, T>::output(device, &self.output);
        let args = ops::CausalConv1d {
            input: input.rows(),
            weight: weight.view(),
            bias: bias.as_ref().map(Placed::view),
            activation: self.activation,
            batch: &batch,
            state: state.as_mut().map(Placed::view_mut),
            output: output.rows_mut(),
        };
        let result = device.backend.causal_conv1d(args, &mut device.workspace.borrow_mut());
        let state = state.map(|state| state.read());
        (result, Outcome { outputs: vec![("output", output.read())], state })
    }
}

impl Case for CausalConv1d {
    type Spec = Spec;
    const NAME: &'static str = "causal_conv1d";
    const REGRESSIONS: &'static str = "tests/backends/regressions/causal_conv1d.txt";
    const WRONG: &'static [Wrong<Self>] = super::refusals::WRONG;

    fn specs() -> BoxedStrategy<Spec> {
        let any_place = (shapes::channels(), prop::array::uniform2(shapes::layouts()), Just(false));
        // channels, strides and addresses that wide accesses suit, whatever the type
        let aligned = (1..=12usize, prop::array::uniform2(shapes::aligned_layouts()))
            .prop_map(|(eights, layouts)| (8 * eights, layouts, true));
        let places = prop_oneof![2 => any_place, 1 => aligned];
        let shape = (shapes::sequences(), 1..=6usize, shapes::dtypes());
        (shape, places, any::<(bool, bool, bool)>(), any::<u64>())
            .prop_map(
                |((sequences, d_conv, dtype), (channels, layouts, aligned), (bias, silu, state), seed)| {
                    Spec { sequences, channels, d_conv, dtype, layouts, aligned, bias, silu, state, seed }
                },
            )
            .boxed()
    }

    fn large() -> Vec<Spec> {
        let sequences = vec![(260, false)];
        let mut specs = vec![Spec { sequences, channels: 261, ..Self::complete() }];
        // whole warps of aligned channels and a part of one; lengths about the spans of 64 rows, with padding between
        let lengths: Vec<(usize, bool)> =
            [1, 63, 64, 65, 130].into_iter().zip([false, false, true, false, false]).collect();
        for (dtype, channels, d_conv) in
            [(DType::BF16, 256, 4), (DType::F16, 512, 3), (DType::BF16, 1000, 2), (DType::F32, 512, 4)]
        {
            specs.push(Self::dense_spec(&lengths, channels, d_conv, dtype));
        }
        specs
    }

    fn complete() -> Spec {
        Spec {
            sequences: vec![(3, false), (4, false)],
            channels: 19,
            d_conv: 4,
            dtype: DType::F32,
            layouts: [Layout { before: 1, gap: 2, after: 3 }; 2],
            aligned: false,
            bias: true,
            silu: true,
            state: true,
            seed: 9,
        }
    }

    fn seed(spec: &Spec) -> u64 {
        spec.seed
    }

    fn draw(spec: &Spec, draw: &mut Draw) -> Self {
        let Spec { channels, d_conv, dtype, aligned, .. } = *spec;
        let sequences = draw.sequences(&spec.sequences);
        let shape = (sequences.tokens(), channels);
        let [input, output] = spec.layouts;
        let vector = if aligned { shapes::ALIGNED } else { Matrix::vector(vec![]).layout };
        let pool = (sequences.pool, (d_conv - 1) * channels);
        Self {
            sequences,
            input: draw.matrix(shape, dtype, input, -2.0..2.0),
            weight: draw.matrix((d_conv, channels), DType::F32, vector, -1.0..1.0),
            bias: spec.bias.then(|| Matrix { layout: vector, ..draw.vector(channels, -1.0..1.0) }),
            activation: if spec.silu { Activation::Silu } else { Activation::Identity },
            state: spec.state.then(|| draw.matrix(pool, DType::F32, vector, -2.0..2.0)),
            output: draw.matrix(shape, dtype, output, 5.0..6.0),
        }
    }

    fn run_packed_by<B: Backend>(&self, device: &Device<B>, _: &B) -> (Result<()>, Outcome) {
        with_element_type!(self.input.dtype, T => self.run_as::<B, T>(device), else => unreachable!("no type of activations"))
    }

    fn before(&self) -> Outcome {
        Outcome { outputs: vec![("output", self.output.clone())], state: self.state.clone() }
    }

    fn dense(&self) -> Self {
        Self {
            input: self.input.dense(),
            weight: self.weight.dense(),
            bias: self.bias.as_ref().map(Matrix::dense),
            state: self.state.as_ref().map(Matrix::dense),
            output: self.output.dense(),
            ..self.clone()
        }
    }

    fn bounds(&self) -> Vec<Vec<Approx>> {
        super::error_analysis::causal_conv1d(self)
    }
}

impl Sequential for CausalConv1d {
    fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    fn state(&self) -> Option<&Matrix> {
        self.state.as_ref()
    }

    fn state_size(&self) -> usize {
        (self.weight.rows - 1) * self.input.cols
    }

    fn select(&self, rows: &[usize], sequences: Sequences, state: Option<Matrix>) -> Self {
        let [input, output] = [&self.input, &self.output].map(|matrix| matrix.select(rows));
        Self { sequences, state, input, output, ..self.clone() }
    }

    fn inputs(&mut self) -> Vec<&mut Matrix> {
        vec![&mut self.input]
    }
}
