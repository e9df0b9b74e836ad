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

use super::isa::Kernel;
use super::math;
use super::simd::{Simd, load, store};
use super::threads::{Shared, part};
use super::{Cpu, Workspace};
use crate::element::{DType, Element};
use crate::error::{Result, checked_product};
use crate::ops::SelectiveScan;
use crate::rows::Rows;
use std::ops::Range;

/// Tokens per block: what a block keeps per channel vector, a few vectors a token, stays in the L1 cache.
const BLOCK: usize = 32;

/// Tokens at once in the passes before and after the recurrence.
const TOKENS: usize = 4;

/// Partial sums over the states: part of the contract.
const SUMS: usize = 4;

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

pub(super) fn selective_scan<T: Element>(
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
    let lanes = cpu.isa.tile().lanes;
    let batch = args.batch;
    let tiles = scan.tiles(lanes);
    let steps = shape.tokens.saturating_mul(shape.channels).saturating_mul(shape.d_state);
    let wanted = steps.div_ceil(STEPS_PER_PART).min(cpu.threads());
    let parts = wanted.div_ceil(batch.len().max(1)).min(tiles); // of each sequence
    let size = Scratch::size(&scan, lanes);
    workspace.scan.grow("selective_scan", checked_product("selective_scan", "a", &[size, cpu.threads()])?)?;
    let scratch = Shared::new(workspace.scan.as_mut_slice().as_mut_ptr());
    let scan = Shared::new(scan);
    cpu.threads.for_each(batch.len() * parts, |worker, index| {
        let (sequence, index) = (index / parts, index % parts);
        let kernel = ScanPart {
            scan: scan.get(),
            rows: batch.offsets()[sequence]..batch.offsets()[sequence + 1],
            slot: batch.slots()[sequence].index(),
            tiles: part(tiles, 1, parts, index),
            scratch: scratch.get().wrapping_add(worker * size),
        };
        // SAFETY: the arguments are validated; tasks differ in their rows and slot, or in their channels; a worker
        // runs one task at a time, and its scratch has the size that the kernel needs.
        unsafe { T::selective_scan(cpu.isa, kernel) }
    });
    Ok(())
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

/// Some channels of one sequence.
pub struct ScanPart<T> {
    scan: Scan<T>,
    rows: Range<usize>,
    /// `None` for padding.
    slot: Option<usize>,
    tiles: Range<usize>,
    scratch: *mut f32,
}

/// One block of tokens of one vector of channels.
struct Tile<'a, T> {
    scan: &'a Scan<T>,
    scratch: &'a Scratch,
    rows: Range<usize>,
    /// First channel, and how many.
    channel: usize,
    count: usize,
    /// `[BLOCK, ..]` of the tile's group, with this row stride.
    b: *const f32,
    c: *const f32,
    b_stride: usize,
    c_stride: usize,
    /// `[d_state, channels]` of the sequence.
    h: *mut f32,
    /// Row and channel at which the tile after this one starts.
    next: (usize, usize),
}

impl<T: Element> Kernel for ScanPart<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { scan, rows, slot, tiles, scratch } = self;
        let scratch = Scratch::new(&scan, S::LANES, scratch);
        // SAFETY: the caller vouches for these rows, this slot, these channels and the scratch.
        unsafe {
            let Some(slot) = slot else {
                for tile in tiles {
                    for c in scan.tile(S::LANES, tile).1 {
                        rows.clone()
                            .for_each(|t| *scan.output.add(t * scan.output_stride + c) = T::from_f32(0.0));
                    }
                }
                return;
            };
            let states = scan.d_state * scan.channels;
            let h = match scan.state.is_null() {
                true => scratch.h,
                false => scan.state.add(slot * states),
            };
            if scan.state.is_null() {
                std::ptr::write_bytes(h, 0, states);
            }
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
                    tile.recurrence::<S>();
                    tile.finish::<S>();
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

impl<T: Element> Tile<'_, T> {
    /// Pass 1: delta and delta · u.
    #[inline(always)]
    unsafe fn steps<S: Simd>(&self) {
        let (scan, c, count) = (self.scan, self.channel, self.count);
        // SAFETY: the rows and channels exist; the scratch holds a vector per token of a block.
        unsafe {
            let bias = match scan.delta_bias.is_null() {
                true => None,
                false => Some(load::<S, f32>(scan.delta_bias.add(c), count)),
            };
            let mut i = 0;
            while self.rows.len() - i >= TOKENS {
                self.steps_of::<S, TOKENS>(i, bias);
                i += TOKENS;
            }
            for i in i..self.rows.len() {
                self.steps_of::<S, 1>(i, bias);
            }
        }
    }

    /// Pass 1 of `K` tokens from the `i`-th of the block on.
    #[inline(always)]
    unsafe fn steps_of<S: Simd, const K: usize>(&self, i: usize, bias: Option<S::F>) {
        let (scan, c, count) = (self.scan, self.channel, self.count);
        // SAFETY: as for `steps`.
        unsafe {
            let mut delta = [S::splat(0.0); K];
            for k in 0..K {
                delta[k] = load::<S, T>(scan.delta.at(self.rows.start + i + k, c), count);
                if let Some(bias) = bias {
                    delta[k] = S::add(delta[k], bias);
                }
            }
            if scan.delta_softplus {
                delta = math::softplus::<S, K>(delta);
            }
            for k in 0..K {
                let u = load::<S, T>(scan.u.at(self.rows.start + i + k, c), count);
                S::store(self.scratch.delta.add((i + k) * S::LANES), delta[k]);
                S::store(self.scratch.du.add((i + k) * S::LANES), S::mul(delta[k], u));
            }
        }
    }

    /// Pass 2: the states in groups that fit in registers. Leaves the partial sums in the scratch.
    #[inline(always)]
    unsafe fn recurrence<S: Simd>(&self) {
        let d_state = self.scan.d_state;
        // SAFETY: the groups cover the states 0..d_state once.
        unsafe {
            let mut n = 0;
            while d_state - n >= 16 {
                self.group::<S, 16, 4>(n);
                n += 16;
            }
            while d_state - n >= 4 {
                self.group::<S, 4, 4>(n);
                n += 4;
            }
            match d_state - n {
                3 => self.group::<S, 3, 3>(n),
                2 => self.group::<S, 2, 2>(n),
                1 => self.group::<S, 1, 1>(n),
                _ => {}
            }
        }
    }

    /// `N` states from `first`, a multiple of four, on; `K` at once, which is four or all.
    #[inline(always)]
    unsafe fn group<S: Simd, const N: usize, const K: usize>(&self, first: usize) {
        let (scan, count) = (self.scan, self.count);
        // SAFETY: the states exist; the scratch holds SUMS vectors per token of a block.
        unsafe {
            let mut a = [S::splat(0.0); N];
            let mut h = [S::splat(0.0); N];
            for n in 0..N {
                let at = (first + n) * scan.channels + self.channel;
                a[n] = S::mul(load::<S, f32>(scan.a.add(at), count), S::splat(math::LOG2_E));
                h[n] = load::<S, f32>(self.h.add(at), count);
            }
            for i in 0..self.rows.len() {
                let delta = S::load(self.scratch.delta.add(i * S::LANES));
                let du = S::load(self.scratch.du.add(i * S::LANES));
                let b = self.b.add(i * self.b_stride + first);
                let c = self.c.add(i * self.c_stride + first);
                let sums_at = self.scratch.sums.add(i * SUMS * S::LANES);
                let mut sums = [S::splat(0.0); SUMS];
                if first == 0 {
                    scan.prefetch::<S>(self.next.0 + i, self.next.1);
                } else {
                    for j in 0..SUMS {
                        sums[j] = S::load(sums_at.add(j * S::LANES));
                    }
                }
                // written out, since the compiler leaves a loop of this size as one, with `h` in memory
                macro_rules! states {
                    ($($first:literal)*) => {$(
                        if $first < N {
                            let mut decay = [delta; K];
                            for j in 0..K {
                                decay[j] = S::mul(delta, a[$first + j]);
                            }
                            decay = math::exp2::<S, K>(decay);
                            for j in 0..K {
                                let n = $first + j;
                                let input = S::mul(du, S::splat(*b.add(n)));
                                h[n] = S::fma(decay[j], h[n], input);
                                sums[j] = S::fma(S::splat(*c.add(n)), h[n], sums[j]);
                            }
                        }
                    )*};
                }
                states!(0 4 8 12);
                for j in 0..SUMS {
                    S::store(sums_at.add(j * S::LANES), sums[j]);
                }
            }
            for n in 0..N {
                store::<S, f32>(self.h.add((first + n) * scan.channels + self.channel), h[n], count);
            }
        }
    }

    /// Pass 3: the sum of the partial sums, d, the gate and the store.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self) {
        let (scan, c, count) = (self.scan, self.channel, self.count);
        // SAFETY: as for `steps`.
        unsafe {
            let d = match scan.d.is_null() {
                true => None,
                false => Some(load::<S, f32>(scan.d.add(c), count)),
            };
            let mut i = 0;
            while self.rows.len() - i >= TOKENS {
                self.finish_of::<S, TOKENS>(i, d);
                i += TOKENS;
            }
            for i in i..self.rows.len() {
                self.finish_of::<S, 1>(i, d);
            }
        }
    }

    /// Pass 3 of `K` tokens from the `i`-th of the block on.
    #[inline(always)]
    unsafe fn finish_of<S: Simd, const K: usize>(&self, i: usize, d: Option<S::F>) {
        let (scan, c, count) = (self.scan, self.channel, self.count);
        // SAFETY: as for `finish`.
        unsafe {
            let mut y = [S::splat(0.0); K];
            for k in 0..K {
                let sums = self.scratch.sums.add((i + k) * SUMS * S::LANES);
                let first = S::add(S::load(sums), S::load(sums.add(S::LANES)));
                let second = S::add(S::load(sums.add(2 * S::LANES)), S::load(sums.add(3 * S::LANES)));
                y[k] = S::add(first, second);
                if let Some(d) = d {
                    y[k] = S::fma(load::<S, T>(scan.u.at(self.rows.start + i + k, c), count), d, y[k]);
                }
            }
            if let Some(z) = &scan.z {
                let mut gate = y;
                for k in 0..K {
                    gate[k] = load::<S, T>(z.at(self.rows.start + i + k, c), count);
                }
                gate = math::silu::<S, K>(gate);
                for k in 0..K {
                    y[k] = S::mul(y[k], gate[k]);
                }
            }
            for k in 0..K {
                let t = self.rows.start + i + k;
                store::<S, T>(scan.output.add(t * scan.output_stride + c), y[k], count);
            }
        }
    }
}
