//! The causal convolution with SiLU.

use super::{Prepared, Work, Workload, magnitudes, rounding, stored, values, within};
use mamba_kernels::ops::{Activation, CausalConv1d};
use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, Batch, Cpu, DType, Element, Reference, Rows};
use std::marker::PhantomData;

/// `b` sequences of `l` tokens, `d` channels, `k` taps.
pub struct Conv {
    b: usize,
    l: usize,
    d: usize,
    k: usize,
    dtype: DType,
    /// Arrays that take turns, so that a run finds its own in memory and not in a cache.
    turns: usize,
}

impl Conv {
    pub fn new([b, l, d, k]: [usize; 4], dtype: DType, turns: usize) -> Self {
        Self { b, l, d, k, dtype, turns }
    }

    fn on<B: Backend + Clone, T: Element>(
        &self,
        backend: &B,
        activation: Activation,
        absolute: bool,
    ) -> On<B, T> {
        let change = |values: Vec<f32>| if absolute { magnitudes(&values) } else { values };
        let input: Vec<T> = stored(self.b * self.l * self.d, 1);
        let input = if absolute { magnitudes(&input) } else { input };
        let arrays = (0..self.turns)
            .map(|_| (backend.upload(&input).unwrap(), backend.zeros(input.len()).unwrap()))
            .collect();
        On {
            backend: backend.clone(),
            channels: self.d,
            activation,
            weight: backend.upload(&change(values(self.k * self.d, 2))).unwrap(),
            bias: backend.upload(&change(values(self.d, 3))).unwrap(),
            batch: Batch::from_lengths(&vec![self.l; self.b]).unwrap(),
            state: backend.zeros(self.b * (self.k - 1) * self.d).unwrap(),
            arrays,
            turn: 0,
            workspace: Default::default(),
            element: PhantomData,
        }
    }
}

struct On<B: Backend, T: Element> {
    backend: B,
    channels: usize,
    activation: Activation,
    weight: B::Buffer<f32>,
    bias: B::Buffer<f32>,
    batch: Batch,
    state: B::Buffer<f32>,
    arrays: Vec<(B::Buffer<T>, B::Buffer<T>)>,
    turn: usize,
    workspace: B::Workspace,
    element: PhantomData<T>,
}

impl<B: Backend, T: Element> Prepared for On<B, T> {
    fn run(&mut self) {
        let (backend, tokens) = (&self.backend, self.batch.tokens());
        self.turn = (self.turn + 1) % self.arrays.len();
        let (input, output) = &mut self.arrays[self.turn];
        let args = CausalConv1d::<B, T> {
            input: Rows::new(backend.view(input), tokens, self.channels).unwrap(),
            weight: backend.view(&self.weight),
            bias: Some(backend.view(&self.bias)),
            activation: self.activation,
            batch: &self.batch,
            state: Some(backend.view_mut(&mut self.state)),
            output: Rows::new(backend.view_mut(output), tokens, self.channels).unwrap(),
        };
        backend.causal_conv1d(args, &mut self.workspace).unwrap();
    }

    fn outputs(&self) -> Vec<f32> {
        let mut values = vec![T::from_f32(0.0); self.batch.tokens() * self.channels];
        self.backend.read(self.backend.view(&self.arrays[self.turn].1), &mut values).unwrap();
        values.into_iter().map(Element::to_f32).collect()
    }
}

impl Workload for Conv {
    fn op(&self) -> &'static str {
        "causal_conv1d"
    }

    fn shape(&self) -> String {
        format!("b{}_l{}_d{}_k{}", self.b, self.l, self.d, self.k)
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn work(&self) -> Work {
        let values = (self.b * self.l * self.d) as f64;
        let bytes = values * self.dtype.size() as f64;
        Work {
            flops: 2.0 * self.k as f64 * values,
            exps: values,
            read: bytes,
            written: bytes,
            resident: 2.0 * bytes * self.turns as f64,
            ..Work::default()
        }
    }

    fn place(&self, cpu: &Cpu) -> Box<dyn Prepared> {
        with_element_type!(self.dtype, T => Box::new(self.on::<_, T>(cpu, Activation::Silu, false)), else => unreachable!("no type of activations"))
    }

    /// A rounding per tap and the bias, then SiLU, whose slope is below 1.1 and whose own error is a few roundings.
    fn check(&self, found: &[f32]) -> Result<(), String> {
        let run = |activation, absolute| {
            with_element_type!(self.dtype, T => {
                let mut on = self.on::<_, T>(&Reference, activation, absolute);
                on.run();
                on.outputs()
            }, else => unreachable!("no type of activations"))
        };
        let (expected, sums) = (run(Activation::Silu, false), run(Activation::Identity, true));
        let scale = (2 * self.k + 8) as f64 * rounding(DType::F32);
        within(found, self.dtype, |i| (expected[i], scale * f64::from(sums[i])))
    }
}
