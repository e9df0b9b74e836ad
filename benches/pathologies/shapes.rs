//! Shapes: rows a page apart, one channel more than vectors have, odd numbers of states and taps, few rows.

use crate::calls::{ordinary, positive};
use crate::values::product;
use crate::{Pair, Run};
use mamba_kernels::ops::{Activation, CausalConv1d, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cpu, Rows};

/// The sizes of a scan or a convolution.
#[derive(Clone)]
pub(super) struct Arrays {
    pub lengths: Vec<usize>,
    pub channels: usize,
    /// Between rows of inputs and outputs; 0 for none.
    pub stride: usize,
    pub d_state: usize,
    pub d_conv: usize,
}

impl Default for Arrays {
    fn default() -> Self {
        Self { lengths: vec![256], channels: 512, stride: 0, d_state: 16, d_conv: 4 }
    }
}

impl Arrays {
    fn batch(&self) -> Batch {
        Batch::from_lengths(&self.lengths).unwrap()
    }

    fn stride(&self) -> usize {
        self.stride.max(self.channels)
    }
}

pub(super) fn scan(cpu: &Cpu, arrays: &Arrays) -> Run {
    let (cpu, batch, stride) = (cpu.clone(), arrays.batch(), arrays.stride());
    let Arrays { channels, d_state, .. } = *arrays;
    let (tokens, sequences) = (batch.tokens(), arrays.lengths.len());
    let wide: Vec<f32> = (0..tokens * stride).map(ordinary).collect();
    let delta: Vec<f32> = (0..tokens * stride).map(|i| 0.02 * positive(i)).collect();
    let bc: Vec<f32> = (0..tokens * 2 * d_state).map(ordinary).collect();
    let a: Vec<f32> = (0..d_state * channels).map(|i| -positive(i)).collect();
    let (mut state, mut output) = (vec![0.5f32; sequences * d_state * channels], wide.clone());
    let mut workspace = Default::default();
    Box::new(move || {
        let rows = |data| Rows::strided(data, 0, tokens, channels, stride).unwrap();
        let bc = Rows::new(&bc[..], tokens, 2 * d_state).unwrap();
        let args = SelectiveScan::<Cpu, f32> {
            u: rows(&wide[..]),
            delta: rows(&delta[..]),
            a: &a,
            b: bc.columns(0..d_state).unwrap(),
            c: bc.columns(d_state..2 * d_state).unwrap(),
            n_groups: 1,
            d: None,
            z: None,
            delta_bias: None,
            delta_softplus: false,
            batch: &batch,
            state: Some(&mut state[..]),
            output: Rows::strided(&mut output[..], 0, tokens, channels, stride).unwrap(),
        };
        cpu.selective_scan(args, &mut workspace).unwrap();
    })
}

pub(super) fn conv(cpu: &Cpu, arrays: &Arrays) -> Run {
    let (cpu, batch, stride) = (cpu.clone(), arrays.batch(), arrays.stride());
    let Arrays { channels, d_conv, .. } = *arrays;
    let (tokens, sequences) = (batch.tokens(), arrays.lengths.len());
    let input: Vec<f32> = (0..tokens * stride).map(ordinary).collect();
    let weight: Vec<f32> = (0..d_conv * channels).map(ordinary).collect();
    let (mut state, mut output) = (vec![0.5f32; sequences * (d_conv - 1) * channels], input.clone());
    Box::new(move || {
        let args = CausalConv1d::<Cpu, f32> {
            input: Rows::strided(&input[..], 0, tokens, channels, stride).unwrap(),
            weight: &weight,
            bias: None,
            activation: Activation::Silu,
            batch: &batch,
            state: Some(&mut state[..]),
            output: Rows::strided(&mut output[..], 0, tokens, channels, stride).unwrap(),
        };
        cpu.causal_conv1d(args, &mut Default::default()).unwrap();
    })
}

pub(super) fn pairs(wanted: &dyn Fn(&str) -> bool, each: &mut dyn FnMut(Pair)) {
    let cpu =
        || Cpu::builder().threads(1).build().expect("the instruction set that the environment asks for");
    let mut add = |name: String, work: f64, case: &dyn Fn(&Cpu) -> Run, twin: &dyn Fn(&Cpu) -> Run| {
        if wanted(&name) {
            let cpu = cpu();
            let (case, twin) = (case(&cpu), twin(&cpu));
            each(Pair { name, cpu, case, twin, work });
        }
    };
    let base = Arrays::default();
    let changed: [(&str, Arrays, Arrays, f64); 9] = [
        ("rows 4096 bytes apart", Arrays { stride: 1024, ..base.clone() }, base.clone(), 1.0),
        ("513 channels", Arrays { channels: 513, ..base.clone() }, base.clone(), 513.0 / 512.0),
        (
            "17 channels",
            Arrays { channels: 17, lengths: vec![4096], ..base.clone() },
            Arrays { channels: 32, lengths: vec![4096], ..base.clone() },
            1.0,
        ),
        ("1 state", Arrays { d_state: 1, ..base.clone() }, Arrays { d_state: 4, ..base.clone() }, 1.0),
        ("15 states", Arrays { d_state: 15, ..base.clone() }, base.clone(), 1.0),
        ("17 states", Arrays { d_state: 17, ..base.clone() }, base.clone(), 17.0 / 16.0),
        (
            "1000 tokens in sequences of 1",
            Arrays { lengths: vec![1; 1000], ..base.clone() },
            Arrays { lengths: vec![1000], ..base.clone() },
            1.0,
        ),
        (
            "1000 tokens in sequences of 5",
            Arrays { lengths: vec![5; 200], ..base.clone() },
            Arrays { lengths: vec![1000], ..base.clone() },
            1.0,
        ),
        (
            "mixed lengths",
            Arrays { lengths: vec![1, 700, 2, 90, 1, 200, 6], ..base.clone() },
            Arrays { lengths: vec![1000], ..base.clone() },
            1.0,
        ),
    ];
    for (name, case, twin, work) in &changed {
        add(format!("shapes/selective_scan/{name}"), *work, &|cpu| scan(cpu, case), &|cpu| scan(cpu, twin));
        if !name.contains("state") {
            add(format!("shapes/causal_conv1d/{name}"), *work, &|cpu| conv(cpu, case), &|cpu| {
                conv(cpu, twin)
            });
        }
    }
    for (taps, work) in [(1, 1.0), (5, 5.0 / 4.0), (8, 2.0)] {
        let case = Arrays { d_conv: taps, ..base.clone() };
        add(format!("shapes/causal_conv1d/{taps} taps"), work, &|cpu| conv(cpu, &case), &|cpu| {
            conv(cpu, &base)
        });
    }
    for rows in [2, 7, 9, 17, 33, 65] {
        let work = rows as f64 / 64.0;
        let (case, twin) =
            (|cpu: &Cpu| product(cpu, (rows, 768, 768)), |cpu: &Cpu| product(cpu, (64, 768, 768)));
        add(format!("shapes/linear/{rows} rows"), work, &case, &twin);
    }
    for (name, shape) in [
        ("769 inputs", (64, 769, 768)),
        ("769 outputs", (64, 768, 769)),
        ("rows 4096 bytes apart", (64, 1024, 768)),
    ] {
        let work = (shape.1 * shape.2) as f64 / (768.0 * 768.0);
        add(format!("shapes/linear/{name}"), work, &|cpu| product(cpu, shape), &|cpu| {
            product(cpu, (64, 768, 768))
        });
    }
}
