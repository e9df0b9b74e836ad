//! The ops of arguments whose shapes, strides, batches and slots agree, or nearly: every backend refuses what the
//! reference refuses, in the same words, and the portable code and the fastest one give the same bits.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mamba_kernels::ops::{
    Activation, CausalConv1d, Embedding, Epilogue, InProj, Linear, RmsNorm, SelectiveScan,
};
use mamba_kernels::{Backend, Batch, Cpu, Error, Reference, Rows, Slot, cpu::Isa};
use std::sync::LazyLock;

static CPUS: LazyLock<[Cpu; 2]> = LazyLock::new(|| {
    let cpu = |builder: mamba_kernels::cpu::CpuBuilder| builder.build().unwrap();
    [cpu(Cpu::builder().isa(Isa::Portable).threads(1)), cpu(Cpu::builder().threads(2))]
});

/// A number that ought to be `right`.
fn near(u: &mut Unstructured<'_>, right: usize) -> Result<usize> {
    Ok(match u.int_in_range(0..=60)? {
        0 => right.wrapping_add(1),
        1 => right.saturating_sub(1),
        2 => 0,
        3 => u.arbitrary::<u8>()?.into(),
        4 => u.arbitrary()?,
        _ => right,
    })
}

/// A matrix in a list of numbers.
#[derive(Debug, Clone)]
struct Matrix {
    data: Vec<f32>,
    offset: usize,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Matrix {
    fn new(u: &mut Unstructured<'_>, rows: usize, cols: usize) -> Result<Self> {
        let offset = u.int_in_range(0..=3)?;
        let stride = cols + u.int_in_range(0..=3)?;
        let data = numbers(u, offset + rows * stride)?;
        Ok(Self {
            data,
            offset: near(u, offset)?,
            rows: near(u, rows)?,
            cols: near(u, cols)?,
            stride: near(u, stride)?,
        })
    }

    fn rows<S: mamba_kernels::Storage>(&self, data: S) -> Result<Rows<S>, Error> {
        Rows::strided(data, self.offset, self.rows, self.cols, self.stride)
    }
}

/// Some numbers, most of ordinary size.
fn numbers(u: &mut Unstructured<'_>, len: usize) -> Result<Vec<f32>> {
    let len = near(u, len)?.min(1 << 14);
    let (seed, special): (u32, u32) = (u.arbitrary()?, u.arbitrary()?);
    let hash =
        |i: usize| (i as u32 ^ seed).wrapping_mul(0x9e37_79b1).rotate_left(13).wrapping_mul(0x85eb_ca6b);
    Ok((0..len)
        .map(|i| match hash(i) {
            bits if special % 4 == 0 && bits % 64 == 0 => f32::from_bits(bits.wrapping_mul(special | 1)),
            bits => bits as f32 / (1u64 << 31) as f32 - 1.0,
        })
        .collect())
}

#[derive(Debug)]
enum Op {
    Linear { epilogue: Epilogue },
    InProj { widths: [usize; 2] },
    Conv { d_conv: usize, silu: bool },
    Scan { d_state: usize, groups: usize, softplus: bool },
    Norm { eps: f32 },
    Embedding { tokens: Vec<u32> },
}

/// An op with arrays of these roles; which they are depends on the op.
#[derive(Debug)]
struct Case {
    op: Op,
    batch: Batch,
    matrices: Vec<Matrix>,
    vectors: Vec<Option<Vec<f32>>>,
    output: Vec<Matrix>,
    state: Option<Vec<f32>>,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let lengths: Vec<usize> =
            (0..u.int_in_range(0..=4)?).map(|_| u.int_in_range(0..=9)).collect::<Result<_>>()?;
        let mut slots = Vec::new();
        for i in 0..lengths.len() {
            let padding = u.ratio(1, 8)?;
            slots.push(if padding { Slot::PADDING } else { Slot::new(near(u, i)? as u32) });
        }
        let mut offsets = vec![0];
        lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
        let batch = Batch::new(&offsets, &slots).map_err(|_| arbitrary::Error::IncorrectFormat)?;
        let (t, c, k) = (batch.tokens(), u.int_in_range(1..=40)?, u.int_in_range(0..=40)?);
        let pool = batch.slots_needed() + u.int_in_range(0..=1)?;
        let optional =
            |u: &mut Unstructured<'a>, len| Ok(if u.arbitrary()? { Some(numbers(u, len)?) } else { None });
        let case =
            |op, matrices, vectors, output, state| Case { op, batch, matrices, vectors, output, state };
        Ok(match u.int_in_range(0..=5)? {
            0 => {
                let epilogue =
                    [Epilogue::Store, Epilogue::Softplus, Epilogue::Residual][u.choose_index(3)?];
                let matrices = vec![Matrix::new(u, t, k)?, Matrix::new(u, c, k)?];
                let bias = optional(u, c)?;
                case(Op::Linear { epilogue }, matrices, vec![bias], vec![Matrix::new(u, t, c)?], None)
            }
            1 => {
                let widths = [u.int_in_range(0..=20)?, c];
                let matrices = vec![Matrix::new(u, t, k)?, Matrix::new(u, widths[0] + c, k)?];
                let bias = optional(u, widths[0] + c)?;
                let output = vec![Matrix::new(u, t, widths[0])?, Matrix::new(u, t, widths[1])?];
                case(Op::InProj { widths }, matrices, vec![bias], output, None)
            }
            2 => {
                let (d_conv, silu) = (u.int_in_range(1..=6)?, u.arbitrary()?);
                let vectors = vec![Some(numbers(u, d_conv * c)?), optional(u, c)?];
                let state = optional(u, pool * (d_conv - 1) * c)?;
                let matrices = vec![Matrix::new(u, t, c)?];
                case(Op::Conv { d_conv, silu }, matrices, vectors, vec![Matrix::new(u, t, c)?], state)
            }
            3 => {
                let (d_state, groups) = (u.int_in_range(0..=20)?, u.int_in_range(1..=3)?);
                let c = c * groups;
                let groups = near(u, groups)?;
                let width = groups.min(4) * d_state;
                let mut matrices = Vec::new();
                for cols in [c, c, width, width, c] {
                    matrices.push(Matrix::new(u, t, cols)?);
                }
                let a = numbers(u, d_state * c)?.into_iter().map(|a| -a.abs()).collect();
                let vectors = vec![Some(a), optional(u, c)?, optional(u, c)?];
                let state = optional(u, pool * d_state * c)?;
                let softplus = u.arbitrary()?;
                case(
                    Op::Scan { d_state, groups, softplus },
                    matrices,
                    vectors,
                    vec![Matrix::new(u, t, c)?],
                    state,
                )
            }
            4 => {
                let eps = [1e-5, 0.0, -1.0, f32::NAN][u.choose_index(4)?];
                let matrices = vec![Matrix::new(u, t, c)?];
                let vectors = vec![optional(u, c)?];
                let mut output = vec![Matrix::new(u, t, c)?];
                if u.arbitrary()? {
                    output.push(Matrix::new(u, t, c)?); // the residual
                }
                case(Op::Norm { eps }, matrices, vectors, output, None)
            }
            _ => {
                let tokens = (0..near(u, t)?.min(64)).map(|i| near(u, i % c).map(|token| token as u32));
                let tokens = tokens.collect::<Result<_>>()?;
                let matrices = vec![Matrix::new(u, c, k)?];
                case(Op::Embedding { tokens }, matrices, vec![], vec![Matrix::new(u, t, k)?], None)
            }
        })
    }
}

/// The numbers that the op leaves: outputs, then the state.
fn run<B: Backend>(backend: &B, case: &Case) -> Result<Vec<Vec<f32>>, Error> {
    let upload = |data: &Vec<f32>| backend.upload(data);
    let matrices = case.matrices.iter().map(|matrix| upload(&matrix.data)).collect::<Result<Vec<_>, _>>()?;
    let vectors = case.vectors.iter().map(|vector| vector.as_ref().map(upload).transpose());
    let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
    let mut outputs = case.output.iter().map(|matrix| upload(&matrix.data)).collect::<Result<Vec<_>, _>>()?;
    let mut state = case.state.as_ref().map(upload).transpose()?;
    let packed = match case.op {
        Op::Linear { .. } | Op::InProj { .. } => Some(&case.matrices[1]),
        Op::Embedding { .. } => Some(&case.matrices[0]),
        _ => None,
    };
    let packed = packed.map(|matrix| backend.pack(matrix.rows(&matrix.data[..])?)).transpose()?;
    let ids = match &case.op {
        Op::Embedding { tokens } => backend.upload(tokens)?,
        _ => backend.upload(&[])?,
    };
    run_op(backend, case, (&matrices, &vectors), (packed.as_ref(), &ids), &mut outputs, state.as_mut())?;
    let read = |buffer: &B::Buffer<f32>, len: usize| {
        let mut host = vec![0.0; len];
        backend.read(backend.view(buffer), &mut host).map(|()| host)
    };
    let mut left = Vec::new();
    for (buffer, matrix) in outputs.iter().zip(&case.output) {
        left.push(read(buffer, matrix.data.len())?);
    }
    if let (Some(buffer), Some(host)) = (&state, &case.state) {
        left.push(read(buffer, host.len())?);
    }
    Ok(left)
}

/// The call itself, on what [`run`] has uploaded and packed.
fn run_op<B: Backend>(
    backend: &B,
    case: &Case,
    (matrices, vectors): (&[B::Buffer<f32>], &[Option<B::Buffer<f32>>]),
    (weight, ids): (Option<&B::Weights>, &B::Buffer<u32>),
    outputs: &mut [B::Buffer<f32>],
    state: Option<&mut B::Buffer<f32>>,
) -> Result<(), Error> {
    let missing = || Error::argument("fuzz", "output", "an output", "none");
    let mut workspace = B::Workspace::default();
    let input = |i: usize| case.matrices[i].rows(backend.view(&matrices[i]));
    let vector = |i: usize| vectors[i].as_ref().map(|vector| backend.view(vector));
    let mut slots = outputs.iter_mut().zip(&case.output);
    let mut output =
        || slots.next().map(|(buffer, matrix)| matrix.rows(backend.view_mut(buffer))).transpose();
    let pool = state.map(|state| backend.view_mut(state));
    match &case.op {
        Op::Linear { epilogue } => backend.linear(
            Linear::<B, f32, f32> {
                input: input(0)?,
                weight: weight.ok_or_else(missing)?,
                bias: vector(0),
                epilogue: *epilogue,
                output: output()?.ok_or_else(missing)?,
            },
            &mut workspace,
        )?,
        Op::InProj { .. } => backend.in_proj(
            InProj::<B, f32, 2> {
                input: input(0)?,
                weight: weight.ok_or_else(missing)?,
                bias: vector(0),
                outputs: [output()?.ok_or_else(missing)?, output()?.ok_or_else(missing)?],
            },
            &mut workspace,
        )?,
        Op::Conv { silu, .. } => backend.causal_conv1d(
            CausalConv1d::<B, f32> {
                input: input(0)?,
                weight: vector(0).ok_or_else(missing)?,
                bias: vector(1),
                activation: if *silu { Activation::Silu } else { Activation::Identity },
                batch: &case.batch,
                state: pool,
                output: output()?.ok_or_else(missing)?,
            },
            &mut workspace,
        )?,
        Op::Scan { groups, softplus, .. } => backend.selective_scan(
            SelectiveScan::<B, f32> {
                u: input(0)?,
                delta: input(1)?,
                a: vector(0).ok_or_else(missing)?,
                b: input(2)?,
                c: input(3)?,
                n_groups: *groups,
                d: vector(1),
                z: Some(input(4)?),
                delta_bias: vector(2),
                delta_softplus: *softplus,
                batch: &case.batch,
                state: pool,
                output: output()?.ok_or_else(missing)?,
            },
            &mut workspace,
        )?,
        Op::Norm { eps } => {
            let first = output()?.ok_or_else(missing)?;
            let residual = output()?;
            backend.rms_norm(
                RmsNorm::<B, f32, f32> {
                    input: input(0)?,
                    residual,
                    weight: vector(0),
                    eps: *eps,
                    output: first,
                },
                &mut workspace,
            )?;
        }
        Op::Embedding { .. } => {
            let args = Embedding::<B, f32> {
                tokens: backend.view(ids),
                weight: weight.ok_or_else(missing)?,
                output: output()?.ok_or_else(missing)?,
            };
            backend.embedding(args, &mut workspace)?;
        }
    }
    Ok(())
}

/// Whether a backend ran out of memory, or cannot pack a matrix of so many rows: how many, each backend has to say.
fn of_memory(error: &str) -> bool {
    error.contains("out of memory") || error.starts_with("pack:")
}

fuzz_target!(|case: Case| {
    let words =
        |result: &Result<Vec<Vec<f32>>, Error>| result.as_ref().map(drop).map_err(|error| error.to_string());
    let [portable, fastest] = [&CPUS[0], &CPUS[1]].map(|cpu| run(cpu, &case));
    let results = [words(&run(&Reference, &case)), words(&portable), words(&fastest)];
    if !results.iter().any(|result| result.as_ref().is_err_and(|error| of_memory(error))) {
        assert_eq!(results[1], results[0]);
        assert_eq!(results[2], results[0]);
    }
    if let (Ok(portable), Ok(fastest)) = (portable, fastest) {
        for (portable, fastest) in portable.iter().flatten().zip(fastest.iter().flatten()) {
            assert!(portable.to_bits() == fastest.to_bits() || portable.is_nan() && fastest.is_nan());
        }
    }
});
