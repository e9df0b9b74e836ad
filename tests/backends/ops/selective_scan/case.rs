//! Cases of `selective_scan`.

use crate::harness::arrays::{Device, Layout, Matrix, Outcome, Placed};
use crate::harness::case::{Case, Sequential, Wrong};
use crate::harness::error_analysis::Approx;
use crate::harness::random::{Draw, Sequences};
use crate::harness::shapes;
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Result, ops};
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
pub struct Spec {
    sequences: Vec<(usize, bool)>,
    /// Channels per group, and groups.
    width: usize,
    n_groups: usize,
    d_state: usize,
    dtype: DType,
    /// Of u, delta, b, c, z and the output.
    layouts: [Layout; 6],
    flags: Flags,
    seed: u64,
}

/// Which options are on.
#[derive(Clone, Copy, Debug)]
struct Flags {
    d: bool,
    z: bool,
    delta_bias: bool,
    delta_softplus: bool,
    state: bool,
}

#[derive(Clone)]
pub struct SelectiveScan {
    pub sequences: Sequences,
    pub u: Matrix,
    pub delta: Matrix,
    /// `[d_state, channels]`
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub n_groups: usize,
    pub d: Option<Matrix>,
    pub z: Option<Matrix>,
    pub delta_bias: Option<Matrix>,
    pub delta_softplus: bool,
    /// `[slots, d_state * channels]`
    pub state: Option<Matrix>,
    pub output: Matrix,
}

impl SelectiveScan {
    /// The length of each sequence and whether it is padding; one group; no gaps.
    #[allow(dead_code, reason = "the check of a GPU has shapes of its own")]
    pub fn dense_spec(sequences: &[(usize, bool)], channels: usize, d_state: usize, dtype: DType) -> Spec {
        let (sequences, layouts) = (sequences.to_vec(), [Layout::DENSE; 6]);
        Spec { sequences, width: channels, n_groups: 1, d_state, dtype, layouts, ..Self::complete() }
    }

    fn run_as<B: Backend, T: Element>(&self, device: &Device<B>) -> (Result<()>, Outcome) {
        let vector = |matrix: &Option<Matrix>| matrix.as_ref().map(|m| Placed::<B, f32>::input(device, m));
        let batch = self.sequences.batch();
        let [u, delta, b, c] =
            [&self.u, &self.delta, &self.b, &self.c].map(|matrix| Placed::<B, T>::input(device, matrix));
        let z = self.z.as_ref().map(|z| Placed::<B, T>::input(device, z));
        let a = Placed::<B, f32>::input(device, &self.a);
        let (d, delta_bias) = (vector(&self.d), vector(&self.delta_bias));
        let mut state = self.state.as_ref().map(|state| Placed::<B, f32>::output(device, state));
        let mut output = Placed::<B, T>::output(device, &self.output);
        let args = ops::SelectiveScan {
            u: u.rows(),
            delta: delta.rows(),
            a: a.view(),
            b: b.rows(),
            c: c.rows(),
            n_groups: self.n_groups,
            d: d.as_ref().map(Placed::view),
            z: z.as_ref().map(Placed::rows),
            delta_bias: delta_bias.as_ref().map(Placed::view),
            delta_softplus: self.delta_softplus,
            batch: &batch,
            state: state.as_mut().map(Placed::view_mut),
            output: output.rows_mut(),
        };
        let result = device.backend.selective_scan(args, &mut device.workspace.borrow_mut());
        let state = state.map(|state| state.read());
        (result, Outcome { outputs: vec![("output", output.read())], state })
    }
}

impl Case for SelectiveScan {
    type Spec = Spec;
    const NAME: &'static str = "selective_scan";
    const REGRESSIONS: &'static str = "tests/backends/regressions/selective_scan.txt";
    const WRONG: &'static [Wrong<Self>] = super::refusals::WRONG;

    fn specs() -> BoxedStrategy<Spec> {
        let one_group = (shapes::channels(), Just(1usize));
        let groups = (1..=24usize, 2..=3usize);
        let channels = prop_oneof![2 => one_group.boxed(), 1 => groups.boxed()];
        let d_state = prop_oneof![8 => 1..=20usize, 2 => Just(16usize), 1 => select(vec![32, 64])];
        let flags =
            any::<(bool, bool, bool, bool, bool)>().prop_map(|(d, z, delta_bias, delta_softplus, state)| {
                Flags { d, z, delta_bias, delta_softplus, state }
            });
        let layouts = prop::array::uniform6(shapes::layouts());
        ((shapes::sequences(), channels, d_state, shapes::dtypes()), layouts, flags, any::<u64>())
            .prop_map(|((sequences, (width, n_groups), d_state, dtype), layouts, flags, seed)| Spec {
                sequences,
                width,
                n_groups,
                d_state,
                dtype,
                layouts,
                flags,
                seed,
            })
            .boxed()
    }

    fn large() -> Vec<Spec> {
        let spec = Spec { width: 101, d_state: 18, ..Self::complete() };
        vec![
            Spec { sequences: vec![(70, false)], ..spec.clone() },
            Spec { sequences: vec![(30, false), (40, true), (33, false)], dtype: DType::BF16, ..spec },
        ]
    }

    fn complete() -> Spec {
        Spec {
            sequences: vec![(3, false), (4, false)],
            width: 9,
            n_groups: 2,
            d_state: 5,
            dtype: DType::F32,
            layouts: [Layout { before: 1, gap: 2, after: 3 }; 6],
            flags: Flags { d: true, z: true, delta_bias: true, delta_softplus: true, state: true },
            seed: 10,
        }
    }

    fn seed(spec: &Spec) -> u64 {
        spec.seed
    }

    fn draw(spec: &Spec, draw: &mut Draw) -> Self {
        let Spec { width, n_groups, d_state, dtype, flags, .. } = *spec;
        let sequences = draw.sequences(&spec.sequences);
        let (tokens, channels) = (sequences.tokens(), n_groups * width);
        let [u, delta, b, c, z, output] = spec.layouts;
        let vector = Matrix::vector(vec![]).layout;
        let pool = (sequences.pool, d_state * channels);
        let softplus = flags.delta_softplus;
        Self {
            sequences,
            u: draw.matrix((tokens, channels), dtype, u, -2.0..2.0),
            // steps from a thousandth to ten, and both ends of softplus
            delta: draw.matrix_of((tokens, channels), dtype, delta, |draw| match softplus {
                true if draw.below(8) == 0 => draw.plain(-30.0..25.0),
                true => draw.plain(-7.0..3.0),
                false => draw.plain(-7.0..2.3).exp(),
            }),
            // decay, except for a few states that grow
            a: draw.matrix_of((d_state, channels), DType::F32, vector, |draw| match draw.below(8) {
                0 => draw.plain(0.0..0.01),
                _ => -draw.plain(-3.0..3.0).exp(),
            }),
            b: draw.matrix((tokens, n_groups * d_state), dtype, b, -1.5..1.5),
            c: draw.matrix((tokens, n_groups * d_state), dtype, c, -1.5..1.5),
            n_groups,
            d: flags.d.then(|| draw.vector(channels, -1.0..1.0)),
            z: flags.z.then(|| draw.matrix((tokens, channels), dtype, z, -6.0..6.0)),
            delta_bias: flags.delta_bias.then(|| draw.vector(channels, 0.0..1.0)),
            delta_softplus: softplus,
            state: flags.state.then(|| draw.matrix(pool, DType::F32, vector, -2.0..2.0)),
            output: draw.matrix((tokens, channels), dtype, output, 5.0..6.0),
        }
    }

    fn run_packed_by<B: Backend>(&self, device: &Device<B>, _: &B) -> (Result<()>, Outcome) {
        with_element_type!(self.u.dtype, T => self.run_as::<B, T>(device), else => unreachable!("no type of activations"))
    }

    fn before(&self) -> Outcome {
        Outcome { outputs: vec![("output", self.output.clone())], state: self.state.clone() }
    }

    fn dense(&self) -> Self {
        let dense = |matrix: &Option<Matrix>| matrix.as_ref().map(Matrix::dense);
        Self {
            sequences: self.sequences.clone(),
            u: self.u.dense(),
            delta: self.delta.dense(),
            a: self.a.dense(),
            b: self.b.dense(),
            c: self.c.dense(),
            d: dense(&self.d),
            z: dense(&self.z),
            delta_bias: dense(&self.delta_bias),
            state: dense(&self.state),
            output: self.output.dense(),
            ..*self
        }
    }

    fn bounds(&self) -> Vec<Vec<Approx>> {
        super::error_analysis::selective_scan(self)
    }
}

impl Sequential for SelectiveScan {
    fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    fn state(&self) -> Option<&Matrix> {
        self.state.as_ref()
    }

    fn state_size(&self) -> usize {
        self.a.values.len()
    }

    fn select(&self, rows: &[usize], sequences: Sequences, state: Option<Matrix>) -> Self {
        Self {
            sequences,
            state,
            u: self.u.select(rows),
            delta: self.delta.select(rows),
            b: self.b.select(rows),
            c: self.c.select(rows),
            z: self.z.as_ref().map(|z| z.select(rows)),
            output: self.output.select(rows),
            ..self.clone()
        }
    }

    fn inputs(&mut self) -> Vec<&mut Matrix> {
        let mut inputs = vec![&mut self.u, &mut self.delta, &mut self.b, &mut self.c];
        inputs.extend(self.z.as_mut());
        inputs
    }
}

/// Cases longer than a chunk of a scan that is parallel over time: one chunk and a row, several, and with others.
#[cfg(feature = "cuda")]
pub fn long() -> Vec<Spec> {
    let spec = |sequences| Spec { sequences, width: 17, ..SelectiveScan::complete() };
    let narrow = spec(vec![(3, false), (300, false), (140, true), (256, false)]);
    vec![
        spec(vec![(129, false)]),
        spec(vec![(400, false), (128, false)]),
        Spec { dtype: DType::F16, ..narrow },
    ]
}
