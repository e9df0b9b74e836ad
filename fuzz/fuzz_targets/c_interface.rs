//! The C interface with any arguments that keep its preconditions: handles are null or live, and what an array describes
//! lies in memory, or is larger than any memory. Arrays may overlap, be null or unaligned. No panic: never `Internal`.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use capi::*;
use libfuzzer_sys::fuzz_target;
use std::ptr::{null, null_mut};

/// Bytes that all arrays lie in.
const MEMORY: usize = 1 << 13;

/// An array by its place in the memory; null if there is no place.
#[derive(Debug, Clone, Copy)]
struct Matrix {
    at: Option<usize>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> Arbitrary<'a> for Matrix {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (mut rows, mut cols) = (u.int_in_range(0..=9)?, u.int_in_range(0..=24)?);
        let mut stride = cols + if u.ratio(1, 4)? { u.int_in_range(0..=3)? } else { 0 };
        // four bytes an element are enough for every type
        let most = MEMORY - 4 * (rows * stride).max(1);
        let at = u.int_in_range(0..=most / 4)? * 4 + if u.ratio(1, 16)? { u.int_in_range(0..=3)? } else { 0 };
        match u.int_in_range(0..=40)? {
            0 => rows = usize::MAX - u.int_in_range(0..=8)?,
            1 => (rows, cols, stride) = (1 << 62, 1, 4),
            2 => (cols, stride) = (usize::MAX / 2, usize::MAX),
            3 => stride = stride.saturating_sub(1), // less than a row: refused
            _ => {}
        }
        let at = at.min(MEMORY - 4 * 9 * 27 - 4);
        Ok(Matrix { at: if u.ratio(1, 16)? { None } else { Some(at) }, rows, cols, stride })
    }
}

#[derive(Arbitrary, Debug)]
struct Case {
    cpu: bool,
    weight: bool,
    batch: bool,
    weight_dtype: u8,
    weight_matrix: Matrix,
    offsets: Vec<u8>,
    slots: Vec<u8>,
    kinds: [u8; 3],
    matrices: [Matrix; 6],
    vectors: [Matrix; 4],
    groups: u8,
    eps: f32,
    op: u8,
    fill: u8,
}

struct Memory(Vec<u64>);

impl Memory {
    fn pointer<T>(&self, at: Option<usize>) -> *mut T {
        at.map_or(null_mut(), |at| self.0.as_ptr().cast::<u8>().cast_mut().wrapping_add(at).cast())
    }

    fn rows(&self, m: Matrix) -> MambaRows {
        MambaRows { data: self.pointer::<u8>(m.at).cast(), rows: m.rows, cols: m.cols, stride: m.stride }
    }

    fn rows_mut(&self, m: Matrix) -> MambaRowsMut {
        MambaRowsMut { data: self.pointer::<u8>(m.at).cast(), rows: m.rows, cols: m.cols, stride: m.stride }
    }

    fn floats(&self, m: Matrix) -> MambaFloats {
        MambaFloats { data: self.pointer(m.at), len: m.cols }
    }

    fn floats_mut(&self, m: Matrix) -> MambaFloatsMut {
        MambaFloatsMut { data: self.pointer(m.at), len: m.cols.saturating_mul(m.rows) }
    }
}

fuzz_target!(|case: Case| {
    let memory = Memory(vec![u64::from_ne_bytes([case.fill; 8]); MEMORY / 8]);
    let kind = |i: usize| u32::from(case.kinds[i] % 4);
    let [m0, m1, m2, m3, m4, m5] = case.matrices;
    let [v0, v1, v2, v3] = case.vectors;
    let (mut cpu, mut batch, mut weight) = (null_mut(), null_mut(), null_mut());
    let offsets: Vec<usize> = case.offsets.iter().take(8).map(|&offset| usize::from(offset % 12)).collect();
    let slots: Vec<u32> =
        case.slots.iter().map(|&slot| if slot > 250 { u32::MAX } else { u32::from(slot % 9) }).collect();
    let sequences = offsets.len().saturating_sub(1).min(slots.len());
    // SAFETY: handles are null or live until they are freed at the end; what an array describes lies in the memory, or is
    // larger than any memory; nothing else uses the memory.
    unsafe {
        if case.cpu {
            mamba_cpu_new(null(), 1, &mut cpu);
        }
        if case.batch && !offsets.is_empty() {
            mamba_batch_new(offsets.as_ptr(), slots.as_ptr(), sequences, &mut batch);
        }
        if case.weight {
            let dtype = u32::from(case.weight_dtype % 4);
            let status = mamba_weights_pack(cpu, dtype, memory.rows(case.weight_matrix), &mut weight);
            assert_ne!(status, MambaStatus::Internal);
        }
        let status = match case.op % 6 {
            0 => mamba_in_proj(
                cpu,
                &MambaInProj {
                    dtype: kind(0),
                    input: memory.rows(m0),
                    weight,
                    bias: memory.floats(v0),
                    x: memory.rows_mut(m1),
                    z: memory.rows_mut(m2),
                },
            ),
            1 => mamba_linear(
                cpu,
                &MambaLinear {
                    input_dtype: kind(0),
                    output_dtype: kind(1),
                    epilogue: kind(2),
                    input: memory.rows(m0),
                    weight,
                    bias: memory.floats(v0),
                    output: memory.rows_mut(m1),
                },
            ),
            2 => mamba_causal_conv1d(
                cpu,
                batch,
                &MambaCausalConv1d {
                    dtype: kind(0),
                    activation: kind(1),
                    input: memory.rows(m0),
                    weight: memory.floats(v0),
                    bias: memory.floats(v1),
                    state: memory.floats_mut(v2),
                    output: memory.rows_mut(m1),
                },
            ),
            3 => mamba_selective_scan(
                cpu,
                batch,
                &MambaSelectiveScan {
                    dtype: kind(0),
                    delta_softplus: kind(1),
                    n_groups: case.groups.into(),
                    u: memory.rows(m0),
                    delta: memory.rows(m1),
                    a: memory.floats(v0),
                    b: memory.rows(m2),
                    c: memory.rows(m3),
                    d: memory.floats(v1),
                    z: memory.rows(m4),
                    delta_bias: memory.floats(v2),
                    state: memory.floats_mut(v3),
                    output: memory.rows_mut(m5),
                },
            ),
            4 => mamba_rms_norm(
                cpu,
                &MambaRmsNorm {
                    input_dtype: kind(0),
                    output_dtype: kind(1),
                    eps: case.eps,
                    input: memory.rows(m0),
                    residual: memory.rows_mut(m1),
                    weight: memory.floats(v0),
                    output: memory.rows_mut(m2),
                },
            ),
            _ => mamba_embedding(
                cpu,
                &MambaEmbedding {
                    dtype: kind(0),
                    tokens: MambaTokens { data: memory.pointer(v0.at), len: v0.cols },
                    weight,
                    output: memory.rows_mut(m0),
                },
            ),
        };
        assert_ne!(status, MambaStatus::Internal);
        mamba_weights_free(weight);
        mamba_batch_free(batch);
        mamba_cpu_free(cpu);
    }
});
