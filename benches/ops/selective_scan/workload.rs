//! The selective scan, with everything that is fused into it.

use super::{Prepared, Work, Workload, magnitudes, rounding, stored, values, within};
use mamba_kernels::ops::SelectiveScan;
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, Batch, Cpu, DType, Element, Reference, Rows};
use std::cell::OnceCell;

/// `b` sequences of `l` tokens, `d` channels of `n` states.
pub struct Scan {
    b: usize,
    l: usize,
    d: usize,
    n: usize,
    dtype: DType,
    /// Values and magnitudes.
    oracle: OnceCell<(Vec<f32>, Vec<f32>)>,
}

impl Scan {
    pub fn new([b, l, d, n]: [usize; 4], dtype: DType) -> Self {
        Self { b, l, d, n, dtype, oracle: OnceCell::new() }
    }

    /// With `magnitude`, the scan of the magnitudes, whose states decay half as fast.
    fn on<B: Backend + Clone, T: Element>(&self, backend: &B, magnitude: bool) -> On<B, T> {
        let tokens = self.b * self.l;
        let activations = |cols: usize, seed| {
            let values: Vec<T> = stored(tokens * cols, seed);
            backend.upload(&if magnitude { magnitudes(&values) } else { values }).unwrap()
        };
        let change = |values: Vec<f32>| if magnitude { magnitudes(&values) } else { values };
        let rate = if magnitude { -0.5 } else { -1.0 };
        let a: Vec<f32> = (0..self.n * self.d).map(|i| rate * (1.0 + (i / self.d) as f32)).collect();
        let delta: Vec<T> = stored(tokens * self.d, 2);
        On {
            backend: backend.clone(),
            sizes: [tokens, self.d, self.n],
            u: activations(self.d, 1),
            delta: backend.upload(&delta).unwrap(),
            z: activations(self.d, 3),
            bc: activations(2 * self.n, 4),
            a: backend.upload(&a).unwrap(),
            skip: backend.upload(&change(values(self.d, 5))).unwrap(),
            bias: backend.upload(&values(self.d, 6)).unwrap(),
            batch: Batch::from_lengths(&vec![self.l; self.b]).unwrap(),
            state: backend.zeros(self.b * self.n * self.d).unwrap(),
            output: backend.zeros(tokens * self.d).unwrap(),
            workspace: Default::default(),
        }
    }
}

struct On<B: Backend, T: Element> {
    backend: B,
    sizes: [usize; 3],
    u: B::Buffer<T>,
    delta: B::Buffer<T>,
    z: B::Buffer<T>,
    bc: B::Buffer<T>,
    a: B::Buffer<f32>,
    skip: B::Buffer<f32>,
    bias: B::Buffer<f32>,
    batch: Batch,
    state: B::Buffer<f32>,
    output: B::Buffer<T>,
    workspace: B::Workspace,
}

impl<B: Backend, T: Element> Prepared for On<B, T> {
    fn run(&mut self) {
        let (backend, [tokens, d, n]) = (&self.backend, self.sizes);
        let bc = || Rows::new(backend.view(&self.bc), tokens, 2 * n).unwrap();
        let args = SelectiveScan::<B, T> {
            u: Rows::new(backend.view(&self.u), tokens, d).unwrap(),
            delta: Rows::new(backend.view(&self.delta), tokens, d).unwrap(),
            a: backend.view(&self.a),
            b: bc().columns(0..n).unwrap(),
            c: bc().columns(n..2 * n).unwrap(),
            n_groups: 1,
            d: Some(backend.view(&self.skip)),
            z: Some(Rows::new(backend.view(&self.z), tokens, d).unwrap()),
            delta_bias: Some(backend.view(&self.bias)),
            delta_softplus: true,
            batch: &self.batch,
            state: Some(backend.view_mut(&mut self.state)),
            output: Rows::new(backend.view_mut(&mut self.output), tokens, d).unwrap(),
        };
        backend.selective_scan(args, &mut self.workspace).unwrap();
    }

    fn outputs(&self) -> Vec<f32> {
        let mut values = vec![T::from_f32(0.0); self.sizes[0] * self.sizes[1]];
        self.backend.read(self.backend.view(&self.output), &mut values).unwrap();
        values.into_iter().map(Element::to_f32).collect()
    }
}

impl Workload for Scan {
    fn op(&self) -> &'static str {
        "selective_scan"
    }

    fn shape(&self) -> String {
        format!("b{}_l{}_d{}_n{}", self.b, self.l, self.d, self.n)
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn work(&self) -> Work {
        let tokens = (self.b * self.l) as f64;
        let (values, size) = (tokens * self.d as f64, self.dtype.size() as f64);
        let states = (self.b * self.n * self.d) as f64;
        let read = (3.0 * values + tokens * 2.0 * self.n as f64) * size + states * 4.0;
        let written = values * size + states * 4.0;
        Work {
            // per state: delta A, delta u B, the recurrence and the sum over states
            flops: values * (6.0 * self.n as f64 + 4.0),
            exps: values * self.n as f64,
            read,
            written,
            resident: read + written,
            ..Work::default()
        }
    }

    fn place(&self, cpu: &Cpu) -> Box<dyn Prepared> {
        with_element_type!(self.dtype, T => Box::new(self.on::<_, T>(cpu, false)), else => unreachable!("no type of activations"))
    }

    /// A term that is k steps old has been multiplied by k decays `e^(-s)`. Each multiplication and each exponential
    /// adds a few roundings, and the exponent's own roundings change the term by a few times `S e^(-S)`, where S is
    /// the sum of its exponents; that is at most `2/e e^(-S/2)`, its share of a scan that decays half as fast. So the
    /// error is within `(4 l + 64)` roundings of that scan over the magnitudes.
    fn check(&self, found: &[f32]) -> Result<(), String> {
        let (expected, sums) = self.oracle.get_or_init(|| {
            let run = |magnitude| {
                with_element_type!(self.dtype, T => {
                    let mut on = self.on::<_, T>(&Reference, magnitude);
                    on.run();
                    on.outputs()
                }, else => unreachable!("no type of activations"))
            };
            (run(false), run(true))
        });
        let scale = (4 * self.l + 64) as f64 * rounding(DType::F32);
        within(found, self.dtype, |i| (expected[i], scale * f64::from(sums[i])))
    }
}
