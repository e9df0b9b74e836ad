//! What the kernels of the scan work on: the arrays of a call, and a thread's scratch.

use crate::arrays::{DType, Result, checked_product};
use crate::cpu::machine::aligned::Aligned;
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::simd::Simd;
use crate::with_element_type;
use std::ops::Range;
use std::ptr::NonNull;

pub(super) const OP: &str = "selective_scan";

/// Tokens per block: what a block keeps per vector of channels, a few vectors a token, stays in the L1 cache.
pub(super) const BLOCK: usize = 32;

/// Partial sums over the states: part of the contract.
pub(super) const SUMS: usize = 4;

/// Fewest updates of a state by a token that are worth a task of their own.
pub(super) const UPDATES_PER_TASK: usize = 1 << 15;

/// The arrays of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    pub channels: usize,
    pub d_state: usize,
    pub n_groups: usize,
    /// The type of `u`, `delta`, `b`, `c`, `z` and `output`.
    pub dtype: DType,
    pub u: RowPtr,
    pub delta: RowPtr,
    pub b: RowPtr,
    pub c: RowPtr,
    pub z: Option<RowPtr>,
    /// `[d_state, channels]`
    pub a: *const f32,
    pub d: Option<NonNull<f32>>,
    pub delta_bias: Option<NonNull<f32>>,
    pub delta_softplus: bool,
    /// `[slots, d_state, channels]`
    pub state: Option<NonNull<f32>>,
    pub output: RowPtr,
}

impl Scan {
    /// Numbers of a state.
    pub fn state_size(&self) -> usize {
        self.d_state * self.channels
    }

    /// The state of a slot in the pool, if there is a pool.
    pub fn slot(&self, slot: usize) -> Option<*mut f32> {
        self.state.map(|state| state.as_ptr().wrapping_add(slot * self.state_size()))
    }

    /// Vectors of channels: no vector spans two groups.
    pub fn strips(&self, lanes: usize) -> usize {
        self.n_groups * (self.channels / self.n_groups).div_ceil(lanes)
    }

    /// The group and the channels of a strip.
    #[inline(always)]
    pub fn strip(&self, lanes: usize, strip: usize) -> (usize, Range<usize>) {
        let width = self.channels / self.n_groups;
        let strips = width.div_ceil(lanes);
        let (group, strip) = (strip / strips, strip % strips);
        (group, group * width + strip * lanes..group * width + width.min((strip + 1) * lanes))
    }

    /// Prefetches what a strip reads and writes in row `t`, which need not exist. Rows are far apart in memory, so the
    /// hardware prefetcher does not see the stride.
    ///
    /// # Safety
    /// 1. The CPU has the target features of `S`.
    #[inline(always)]
    pub unsafe fn prefetch<S: Simd, T>(&self, t: usize, channel: usize) {
        // SAFETY: condition 1; a prefetch may be of any address.
        unsafe {
            S::prefetch(self.u.wrapping_at::<T>(t, channel));
            S::prefetch(self.delta.wrapping_at::<T>(t, channel));
            if let Some(z) = &self.z {
                S::prefetch(z.wrapping_at::<T>(t, channel));
            }
            S::prefetch(self.output.wrapping_at::<T>(t, channel));
        }
    }

    /// Writes zeros to the outputs of padding.
    ///
    /// # Safety
    /// 1. The output has type `dtype`, these rows and the channels of these strips, and nobody else accesses them meanwhile.
    pub unsafe fn clear_outputs(&self, rows: Range<usize>, strips: Range<usize>, lanes: usize) {
        for strip in strips {
            let channels = self.strip(lanes, strip).1;
            // SAFETY: condition 1.
            unsafe {
                with_element_type!(self.dtype,
                    T => self.output.clear::<T>(rows.clone(), channels),
                    else => unreachable!())
            }
        }
    }

    /// Writes zeros to some channels of an array `[d_state, channels]`.
    ///
    /// # Safety
    /// 1. The array has this shape and may be written.
    pub unsafe fn clear(&self, array: *mut f32, channels: Range<usize>) {
        for n in 0..self.d_state {
            let start = array.wrapping_add(n * self.channels + channels.start);
            // SAFETY: these channels of row `n` are in the array (1).
            unsafe { std::ptr::write_bytes(start, 0, channels.len()) };
        }
    }
}

/// A thread's scratch, in this order. Arrays of `[BLOCK]` hold a vector per token.
pub(super) struct Scratch {
    /// `[BLOCK]`: delta, and delta · u
    pub delta: *mut f32,
    pub du: *mut f32,
    /// `[BLOCK, SUMS]`
    pub sums: *mut f32,
    /// `[BLOCK, n_groups * d_state]` numbers each: widened, or without subnormal numbers
    pub b: *mut f32,
    pub c: *mut f32,
    /// `[d_state, channels]`: the states of a sequence, if there is no pool. In a chunk without outputs, whose states
    /// are elsewhere, `[channels]`: the sum of its delta
    pub h: *mut f32,
}

impl Scratch {
    /// Its size in numbers, of which `states` are for `h`; a multiple of a cache line.
    pub fn size(scan: &Scan, lanes: usize, states: usize) -> usize {
        ((2 + SUMS) * BLOCK * lanes + 2 * Self::copied(scan) + states).next_multiple_of(16)
    }

    /// The numbers of `b`, and of `c`.
    #[inline(always)]
    fn copied(scan: &Scan) -> usize {
        BLOCK * scan.n_groups * scan.d_state
    }

    /// The first of a scratch of `size` numbers for each worker that `tasks` tasks can have, one after the other.
    pub fn of_workers(cpu: &Cpu, memory: &mut Aligned<f32>, size: usize, tasks: usize) -> Result<*mut f32> {
        memory.ensure(OP, checked_product(OP, "a", &[size, cpu.threads.workers_for(tasks)])?)?;
        Ok(memory.as_mut_slice().as_mut_ptr())
    }

    #[inline(always)]
    pub fn new(scan: &Scan, lanes: usize, start: *mut f32) -> Self {
        let vectors = BLOCK * lanes;
        let copied = Self::copied(scan);
        let du = start.wrapping_add(vectors);
        let sums = du.wrapping_add(vectors);
        let b = sums.wrapping_add(SUMS * vectors);
        let c = b.wrapping_add(copied);
        Self { delta: start, du, sums, b, c, h: c.wrapping_add(copied) }
    }
}
