//! The selective scan, channels in lanes, everything around it fused.
//!
//! ```text
//! delta = softplus(delta + bias); h[n] = exp2(delta · (a[n] · log2 e)) · h[n] + (delta · u) · b[n]
//! y = Σ_n c[n] · h[n] in four partial sums; y = fma(u, d, y); output = y · silu(z)
//! ```
//!
//! What the fast version does differently, and why the bits stay the same:
//! 1. A vector holds neighbouring channels; each lane is one channel, and time ascends in it.
//! 2. Time is cut into blocks. Within a block, three passes: `delta` and `delta · u`; the recurrence, for a group of
//!    states whose `h` stay in registers; `d`, the gate and the store. What goes from pass to pass is in binary32.
//! 3. A group has a multiple of four states, so the partial sum `n mod 4` of a state is the same in every group; the
//!    sums of a group go on from those of the one before.
//! 4. Threads take ranges of channels of a sequence: channels are independent. Nothing of size tokens x channels x
//!    states is ever stored.

mod chunked;
mod passes;

pub use chunked::Chunk;

use crate::arrays::Batch;
use crate::arrays::Rows;
use crate::arrays::{DType, Element};
use crate::arrays::{Result, checked_product};
use crate::cpu::inexact::ScanOrder;
use crate::cpu::machine::isa::Kernel;
use crate::cpu::machine::threads::{Shared, part};
use crate::cpu::simd::Simd;
use crate::cpu::{Cpu, Workspace};
use crate::ops::SelectiveScan;
use passes::Tile;
use std::ops::Range;

/// Tokens per block: what a block keeps per channel vector, a few vectors a token, stays in the L1 cache.
const BLOCK: usize = 32;

/// Tokens at once in the passes before and after the recurrence.
const TOKENS: usize = 4;

/// Partial sums over the states: part of the contract.
const SUMS: usize = 4;

const OP: &str = "selective_scan";

/// Fewest channel-states times tokens that are worth a thread of their own.
const STEPS_PER_PART: usize = 1 << 15;

#[derive(Clone, Copy)]
struct Input<T> {
    start: *const T,
    stride: usize,
}

impl<T> Input<T> {
    fn new(rows: &Rows<&[T]>) -> Self {
        Self { start: rows.start(), stride: rows.stride() }
    }

    /// # Safety
    /// Row `t` exists and has a column `c`.
    #[inline(always)]
    unsafe fn at(&self, t: usize, c: usize) -> *const T {
        // SAFETY: the caller's promise.
        unsafe { self.start.add(t * self.stride + c) }
    }
}

#[derive(Clone, Copy)]
struct Scan<T> {
    channels: usize,
    d_state: usize,
    n_groups: usize,
    u: Input<T>,
    delta: Input<T>,
    b: Input<T>,
    c: Input<T>,
    z: Option<Input<T>>,
    a: *const f32,
    /// Null where there is none.
    d: *const f32,
    /// Null where there is none.
    delta_bias: *const f32,
    delta_softplus: bool,
    /// Null where there is none.
    state: *mut f32,
    output: *mut T,
    output_stride: usize,
}

pub(in crate::cpu) fn selective_scan<T: Element>(
    cpu: &Cpu,
    args: SelectiveScan<'_, Cpu, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    let shape = args.validate()?;
    let output_stride = args.output.stride();
    let scan = Scan {
        channels: shape.channels,
        d_state: shape.d_state,
        n_groups: shape.n_groups,
        u: Input::new(&args.u),
        delta: Input::new(&args.delta),
        b: Input::new(&args.b),
        c: Input::new(&args.c),
        z: args.z.as_ref().map(Input::new),
        a: args.a.as_ptr(),
        d: args.d.map_or(std::ptr::null(), <[f32]>::as_ptr),
        delta_bias: args.delta_bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        delta_softplus: args.delta_softplus,
        state: args.state.map_or(std::ptr::null_mut(), <[f32]>::as_mut_ptr),
        output: args.output.start_mut(),
        output_stride,
    };
    let size = Scratch::size(&scan, cpu.isa.tile().lanes);
    workspace.scan.grow(OP, checked_product(OP, "a", &[size, cpu.threads()])?)?;
    match cpu.scan_order {
        ScanOrder::Sequential => {
            scan.sequential(cpu, args.batch, workspace);
            Ok(())
        }
        ScanOrder::Chunked { tokens } => scan.chunked(cpu, args.batch, tokens.get(), workspace),
    }
}

impl<T: Element> Scan<T> {
    /// Each sequence from its first token to its last.
    fn sequential(&self, cpu: &Cpu, batch: &Batch, workspace: &mut Workspace) {
        let lanes = cpu.isa.tile().lanes;
        let tiles = self.tiles(lanes);
        let steps = batch.tokens().saturating_mul(self.channels).saturating_mul(self.d_state);
        let wanted = steps.div_ceil(STEPS_PER_PART).min(cpu.threads());
        let parts = wanted.div_ceil(batch.len().max(1)).min(tiles); // of each sequence
        let size = Scratch::size(self, lanes);
        let scratch = Shared::new(workspace.scan.as_mut_slice().as_mut_ptr());
        let scan = Shared::new(*self);
        cpu.threads.for_each(batch.len() * parts, |worker, index| {
            let (sequence, index) = (index / parts, index % parts);
            let scan = scan.get();
            let kernel = ScanPart {
                scan,
                rows: batch.offsets()[sequence]..batch.offsets()[sequence + 1],
                task: batch.slots()[sequence].index().map_or(Task::Padding, |slot| scan.scan_from(slot)),
                tiles: part(tiles, 1, parts, index),
                scratch: scratch.get().wrapping_add(worker * size),
            };
            // SAFETY: the arguments are validated; tasks differ in their rows and slot, or in their channels; a worker
            // runs one task at a time, and its scratch has the size that the kernel needs.
            unsafe { T::selective_scan(cpu.isa, kernel) }
        });
    }

    /// The scan of a sequence from the state in `slot`, or from zeros.
    fn scan_from(&self, slot: usize) -> Task {
        match self.state.is_null() {
            true => Task::FromZeros,
            false => Task::From(self.state.wrapping_add(slot * self.d_state * self.channels)),
        }
    }
}

impl<T> Scan<T> {
    /// Vectors of channels: no vector lies across two groups.
    fn tiles(&self, lanes: usize) -> usize {
        self.n_groups * (self.channels / self.n_groups).div_ceil(lanes)
    }

    /// Asks for what a tile reads and writes in row `t`, which need not exist. Rows are far apart in memory, so that the
    /// hardware does not see the stride.
    #[inline(always)]
    unsafe fn prefetch<S: Simd>(&self, t: usize, channel: usize) {
        // a view of one row may have any stride
        let at = |stride: usize| t.wrapping_mul(stride).wrapping_add(channel);
        // SAFETY: a prefetch may be of any address.
        unsafe {
            S::prefetch(self.u.start.wrapping_add(at(self.u.stride)));
            S::prefetch(self.delta.start.wrapping_add(at(self.delta.stride)));
            if let Some(z) = &self.z {
                S::prefetch(z.start.wrapping_add(at(z.stride)));
            }
            S::prefetch(self.output.wrapping_add(at(self.output_stride)));
        }
    }

    /// Zeros for some channels of an array `[d_state, channels]`.
    ///
    /// # Safety
    /// The array is there.
    unsafe fn clear(&self, array: *mut f32, channels: Range<usize>) {
        for n in 0..self.d_state {
            // SAFETY: the caller's promise.
            unsafe {
                std::ptr::write_bytes(array.add(n * self.channels + channels.start), 0, channels.len())
            };
        }
    }

    /// The group and the channels of a tile.
    #[inline(always)]
    fn tile(&self, lanes: usize, tile: usize) -> (usize, Range<usize>) {
        let width = self.channels / self.n_groups;
        let tiles = width.div_ceil(lanes);
        let (group, tile) = (tile / tiles, tile % tiles);
        (group, group * width + tile * lanes..group * width + width.min((tile + 1) * lanes))
    }
}

/// What a worker keeps, in this order; `[..]` in vectors but for `b` and `c`.
struct Scratch {
    /// `[BLOCK]`: delta, delta · u
    delta: *mut f32,
    du: *mut f32,
    /// `[BLOCK, SUMS]`
    sums: *mut f32,
    /// `[BLOCK, n_groups * d_state]` numbers each, where the storage type is not binary32
    b: *mut f32,
    c: *mut f32,
    /// `[d_state, channels]`: the states of a sequence that has no slot in a pool
    h: *mut f32,
}

impl Scratch {
    /// In numbers; a multiple of a cache line.
    fn size<T>(scan: &Scan<T>, lanes: usize) -> usize {
        let numbers = (2 + SUMS) * BLOCK * lanes
            + 2 * BLOCK * scan.n_groups * scan.d_state
            + scan.d_state * scan.channels;
        numbers.next_multiple_of(16)
    }

    #[inline(always)]
    fn new<T>(scan: &Scan<T>, lanes: usize, start: *mut f32) -> Self {
        let vectors = BLOCK * lanes;
        let coefficients = BLOCK * scan.n_groups * scan.d_state;
        let sums = start.wrapping_add(2 * vectors);
        let b = sums.wrapping_add(SUMS * vectors);
        let c = b.wrapping_add(coefficients);
        let h = c.wrapping_add(coefficients);
        Self { delta: start, du: start.wrapping_add(vectors), sums, b, c, h }
    }
}

/// What is done with the rows of a part.
#[derive(Clone, Copy)]
enum Task {
    /// Outputs of zero.
    Padding,
    /// The scan from these states, `[d_state, channels]`, which it leaves as they are at the end.
    From(*mut f32),
    /// The scan from zeros; what the states are at the end is not wanted.
    FromZeros,
    /// No outputs: where the states end that start as zeros, and the product of all decays. Both `[d_state, channels]`.
    Local { h: *mut f32, decay: *mut f32 },
}

/// Some channels of some rows of one sequence.
pub struct ScanPart<T> {
    scan: Scan<T>,
    rows: Range<usize>,
    task: Task,
    tiles: Range<usize>,
    scratch: *mut f32,
}

impl<T: Element> Kernel for ScanPart<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { scan, rows, task, tiles, scratch } = self;
        let scratch = Scratch::new(&scan, S::LANES, scratch);
        // SAFETY: the caller vouches for these rows, these states, these channels and the scratch.
        unsafe {
            let h = match task {
                Task::From(h) => h,
                Task::FromZeros => scratch.h,
                Task::Local { h, .. } => h,
                Task::Padding => {
                    for tile in tiles {
                        for c in scan.tile(S::LANES, tile).1 {
                            rows.clone().for_each(|t| {
                                *scan.output.add(t * scan.output_stride + c) = T::from_f32(0.0)
                            });
                        }
                    }
                    return;
                }
            };
            if matches!(task, Task::FromZeros | Task::Local { .. }) {
                for tile in tiles.clone() {
                    scan.clear(h, scan.tile(S::LANES, tile).1);
                }
            }
            if let Task::Local { decay, .. } = task {
                for tile in tiles.clone() {
                    scan.clear(decay, scan.tile(S::LANES, tile).1);
                }
            }
            let end = rows.end;
            for start in rows.clone().step_by(BLOCK) {
                let rows = start..rows.end.min(start + BLOCK);
                let (b, b_stride) = coefficients(&scan, &scan.b, &rows, scratch.b);
                let (c, c_stride) = coefficients(&scan, &scan.c, &rows, scratch.c);
                for tile in tiles.clone() {
                    let (group, channels) = scan.tile(S::LANES, tile);
                    let next = match tile + 1 < tiles.end {
                        true => (start, scan.tile(S::LANES, tile + 1).1.start),
                        false => (rows.end, scan.tile(S::LANES, tiles.start).1.start),
                    };
                    let tile = Tile {
                        scan: &scan,
                        scratch: &scratch,
                        rows: rows.clone(),
                        channel: channels.start,
                        count: channels.len(),
                        b: b.add(group * scan.d_state),
                        c: c.add(group * scan.d_state),
                        b_stride,
                        c_stride,
                        h,
                        next,
                    };
                    tile.steps::<S>();
                    if let Task::Local { decay, .. } = task {
                        tile.local::<S>(decay);
                        if rows.end == end {
                            tile.decays::<S>(decay);
                        }
                    } else {
                        tile.recurrence::<S>();
                        tile.finish::<S>();
                    }
                }
            }
        }
    }
}

/// The rows of `b` or `c` in binary32: where they are, or widened into `target`. Gives the start and the row stride.
///
/// # Safety
/// The rows exist, and `target` has room for `BLOCK` of them.
#[inline(always)]
unsafe fn coefficients<T: Element>(
    scan: &Scan<T>,
    input: &Input<T>,
    rows: &Range<usize>,
    target: *mut f32,
) -> (*const f32, usize) {
    let width = scan.n_groups * scan.d_state;
    // SAFETY: the caller's promise.
    unsafe {
        if T::DTYPE == DType::F32 {
            return (input.at(rows.start, 0).cast(), input.stride);
        }
        for (i, t) in rows.clone().enumerate() {
            for n in 0..width {
                *target.add(i * width + n) = (*input.at(t, n)).to_f32();
            }
        }
        (target, width)
    }
}
