//! Matrix products: `in_proj` and `linear`.

use super::{EXACT, Prepared, Work, Workload, magnitudes, rounding, stored, values, within};
use mamba_kernels::ops::{Epilogue, InProj, Linear};
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, Cpu, DType, Element, Reference, Rows, WeightFormat};
use std::cell::OnceCell;

/// Rows of the input that differ; row `i` is row `i % DISTINCT`. So the oracle needs these only.
const DISTINCT: usize = 7;

/// Bytes of all copies of a matrix that has to come from memory: about those of the 130m shape in f32.
const IN_MEMORY: usize = 500_000_000;

/// `m` tokens, `k` input features, `n` output features.
pub struct Product {
    role: &'static str,
    m: usize,
    k: usize,
    n: usize,
    weights: DType,
    epilogue: Epilogue,
    /// The format of the packed weights, if it is not that of their type.
    format: Option<WeightFormat>,
    /// Copies of the weights that take turns, so that a run finds its own in memory and not in a cache.
    copies: usize,
    /// Values and bounds of the distinct rows.
    oracle: OnceCell<(Vec<f32>, Vec<f64>)>,
}

impl Product {
    /// `role` is `in_proj` for that op, or what the linear layer is in the model.
    pub fn new(role: &'static str, [m, k, n]: [usize; 3], weights: DType) -> Self {
        let epilogue = if role == "out_proj" { Epilogue::Residual } else { Epilogue::Store };
        Self { role, m, k, n, weights, epilogue, format: None, copies: 1, oracle: OnceCell::new() }
    }

    /// The same by bf16 dot products.
    pub fn bf16_dot(self) -> Self {
        Self { format: Some(WeightFormat::Bf16Pairs), ..self }
    }

    /// The same with weights from memory: so many copies that no cache keeps a share of them that counts.
    pub fn in_memory(self) -> Self {
        let bytes = self.k * self.n * self.weights.size();
        Self { copies: IN_MEMORY.div_ceil(bytes), ..self }
    }

    fn rows(&self, cols: usize, rows: usize, seed: u64) -> Vec<f32> {
        let distinct = values(DISTINCT.min(rows) * cols, seed);
        distinct.iter().cycle().take(rows * cols).copied().collect()
    }

    /// On any backend: the first `rows` rows, of the inputs or of their magnitudes.
    fn on<B: Backend + Clone>(
        &self,
        backend: &B,
        rows: usize,
        absolute: bool,
        format: Option<WeightFormat>,
        copies: usize,
    ) -> On<B> {
        let change = |values: Vec<f32>| if absolute { magnitudes(&values) } else { values };
        let weights: Vec<B::Weights> = with_element_type!(self.weights, W => {
            let weight: Vec<W> = stored(self.n * self.k, 1);
            let weight = if absolute { magnitudes(&weight) } else { weight };
            let copy = || {
                let weight = Rows::new(&weight[..], self.n, self.k).unwrap();
                match format {
                    Some(format) => backend.pack_as(weight, format).unwrap(),
                    None => backend.pack(weight).unwrap(),
                }
            };
            (0..copies).map(|_| copy()).collect()
        }, else => unreachable!("no type of activations"));
        let input = backend.upload(&change(self.rows(self.k, rows, 2))).unwrap();
        // what a residual product adds to
        let first = match self.epilogue {
            Epilogue::Residual => change(self.rows(self.n, rows, 3)),
            _ => vec![0.0; rows * self.n],
        };
        let split = self.role == "in_proj";
        let outputs = if split { vec![vec![0.0; rows * self.n / 2]; 2] } else { vec![first] };
        let outputs = outputs.iter().map(|output| backend.upload(output).unwrap()).collect();
        let (k, n, epilogue) = (self.k, self.n, self.epilogue);
        let backend = backend.clone();
        On { backend, rows, k, n, epilogue, weights, turn: 0, input, outputs, workspace: Default::default() }
    }
}

struct On<B: Backend> {
    backend: B,
    rows: usize,
    k: usize,
    n: usize,
    epilogue: Epilogue,
    weights: Vec<B::Weights>,
    turn: usize,
    input: B::Buffer<f32>,
    /// Two of an `in_proj`.
    outputs: Vec<B::Buffer<f32>>,
    workspace: B::Workspace,
}

impl<B: Backend> Prepared for On<B> {
    fn run(&mut self) {
        let (backend, rows) = (&self.backend, self.rows);
        self.turn = (self.turn + 1) % self.weights.len();
        let weight = &self.weights[self.turn];
        let input = Rows::new(backend.view(&self.input), rows, self.k).unwrap();
        match &mut self.outputs[..] {
            [x, z] => {
                let args = InProj::<B, f32, 2> {
                    input,
                    weight,
                    bias: None,
                    outputs: [
                        Rows::new(backend.view_mut(x), rows, self.n / 2).unwrap(),
                        Rows::new(backend.view_mut(z), rows, self.n / 2).unwrap(),
                    ],
                };
                backend.in_proj(args, &mut self.workspace).unwrap();
            }
            outputs => {
                let args = Linear::<B, f32, f32> {
                    input,
                    weight,
                    bias: None,
                    epilogue: self.epilogue,
                    output: Rows::new(backend.view_mut(&mut outputs[0]), rows, self.n).unwrap(),
                };
                backend.linear(args, &mut self.workspace).unwrap();
            }
        }
    }

    fn outputs(&self) -> Vec<f32> {
        let width = self.n / self.outputs.len();
        let mut all = vec![0.0; self.rows * self.n];
        for (half, buffer) in self.outputs.iter().enumerate() {
            let mut values = vec![0.0; self.rows * width];
            self.backend.read(self.backend.view(buffer), &mut values).unwrap();
            for (target, row) in all.chunks_exact_mut(self.n).zip(values.chunks_exact(width)) {
                target[half * width..][..width].copy_from_slice(row);
            }
        }
        all
    }
}

impl Workload for Product {
    fn op(&self) -> &'static str {
        if self.role == "in_proj" { "in_proj" } else { "linear" }
    }

    fn shape(&self) -> String {
        let sizes = format!("m{}_k{}_n{}", self.m, self.k, self.n);
        if self.role == "in_proj" { sizes } else { format!("{}_{sizes}", self.role) }
    }

    fn dtype(&self) -> DType {
        self.weights
    }

    fn mode(&self) -> &'static str {
        if self.format.is_some() { "bf16dot" } else { EXACT }
    }

    fn work(&self) -> Work {
        let outputs = (self.m * self.n) as f64;
        let residual = if self.epilogue == Epilogue::Residual { 4.0 * outputs } else { 0.0 };
        let size = if self.format.is_some() { 2 } else { self.weights.size() };
        let read = (self.n * self.k * size + self.m * self.k * 4) as f64 + residual;
        let written = 4.0 * outputs;
        let (flops, fast) = (2.0 * outputs * self.k as f64, self.format.is_some());
        Work {
            flops: if fast { 0.0 } else { flops },
            bf16_flops: if fast { flops } else { 0.0 },
            exps: 0.0,
            read,
            written,
            resident: (read + written - residual) * self.copies as f64,
        }
    }

    fn place(&self, cpu: &Cpu) -> Box<dyn Prepared> {
        Box::new(self.on(cpu, self.m, false, self.format, self.copies))
    }

    /// One rounding per step of the sum, each at most that of the sum of the magnitudes.
    fn check(&self, found: &[f32]) -> Result<(), String> {
        let (expected, bounds) = self.oracle.get_or_init(|| {
            let run = |absolute| {
                let mut on = self.on(&Reference, DISTINCT.min(self.m), absolute, None, 1);
                on.run();
                on.outputs()
            };
            let factors = if self.format.is_some() { 2.01 * rounding(DType::BF16) } else { 0.0 };
            let scale = factors + (self.k + 2) as f64 * rounding(DType::F32);
            (run(false), run(true).into_iter().map(|sum| scale * f64::from(sum)).collect())
        });
        within(found, DType::F32, |i| (expected[i % expected.len()], bounds[i % bounds.len()]))
    }
}
