//! The depthwise causal convolution, channels in lanes, with SiLU fused and the state updated in place.
//!
//! ```text
//! output[t, c] = activation(bias[c] + Σ_j weight[j, c] · input[t - d_conv + 1 + j, c]), oldest tap first
//! ```
//!
//! What the fast version does differently, and why the bits stay the same:
//! 1. A vector holds neighbouring channels; each lane is one channel.
//! 2. Taps before the start of the sequence are read from the state, which holds the inputs as they were.
//! 3. Several vectors of channels, of two rows where there are registers for it, are worked on side by side, so that their
//!    chains overlap and taps are loaded once. The next rows are asked for meanwhile.
//! 4. A large output, which no cache would keep, is stored past the caches: it need not be read first.
//! 5. Threads take ranges of rows of a sequence, or of channels where rows are few: outputs are independent.

use crate::arrays::Result;
use crate::arrays::{DType, Element};
use crate::cpu::Cpu;
use crate::cpu::machine::isa::Kernel;
use crate::cpu::machine::threads::{Shared, part};
use crate::cpu::math;
use crate::cpu::simd::{Simd, load, store};
use crate::ops::{Activation, CausalConv1d};
use std::ops::Range;

/// Channels that go down the rows together: their weights and their last inputs stay in the L2 cache, and a row is
/// long enough for the hardware to see that it is read in order. From memory 512 was slower.
const CHUNK: usize = 1536;

/// Bytes from which on an output is stored past the caches.
const PAST_CACHES: usize = 8 << 20;

/// Fewest rows of a part of a sequence.
const ROWS_PER_PART: usize = 16;

/// Fewest elements that are worth a thread of their own.
const ELEMENTS_PER_PART: usize = 1 << 14;

#[derive(Clone, Copy)]
struct Conv<T> {
    channels: usize,
    d_conv: usize,
    activation: Activation,
    input: *const T,
    input_stride: usize,
    weight: *const f32,
    /// Null where there is none.
    bias: *const f32,
    /// Null where there is none.
    state: *mut f32,
    output: *mut T,
    output_stride: usize,
    /// Whether outputs are stored past the caches.
    past: bool,
}

pub(in crate::cpu) fn causal_conv1d<T: Element>(cpu: &Cpu, args: CausalConv1d<'_, Cpu, T>) -> Result<()> {
    let shape = args.validate()?;
    let output_stride = args.output.stride();
    let lanes = cpu.isa.tile().lanes;
    let bytes = shape.tokens.saturating_mul(shape.channels).saturating_mul(size_of::<T>());
    // rows that all start at the same place in a vector
    let past = T::DTYPE == DType::F32 && bytes >= PAST_CACHES && output_stride.is_multiple_of(lanes);
    let conv = Shared::new(Conv {
        channels: shape.channels,
        d_conv: shape.d_conv,
        activation: args.activation,
        input: args.input.start(),
        input_stride: args.input.stride(),
        weight: args.weight.as_ptr(),
        bias: args.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        state: args.state.map_or(std::ptr::null_mut(), <[f32]>::as_mut_ptr),
        output: args.output.start_mut(),
        output_stride,
        past,
    });
    let batch = args.batch;
    let most = shape.channels.div_ceil(lanes);
    let wanted = (shape.tokens * shape.channels).div_ceil(ELEMENTS_PER_PART).min(cpu.threads());
    let parts = wanted.div_ceil(batch.len().max(1)).min(most); // of each sequence
    // where several tasks share a sequence, its state is updated when all of them have read it
    cpu.threads.for_each(batch.len() * parts, |_, index| {
        let (sequence, index) = (index / parts, index % parts);
        let whole = batch.offsets()[sequence]..batch.offsets()[sequence + 1];
        let (mut rows, mut channels) = (whole.clone(), 0..shape.channels);
        if whole.len() >= parts * ROWS_PER_PART {
            let part = part(whole.len(), 1, parts, index);
            rows = whole.start + part.start..whole.start + part.end;
        } else {
            channels = part(shape.channels, lanes, parts, index);
        }
        let slot = batch.slots()[sequence].index();
        let part = ConvPart { conv: conv.get(), whole, rows, slot, channels, state: parts == 1 };
        // SAFETY: the arguments are validated; tasks differ in their rows and slot, or in their channels, and a state
        // is written by a task that has its sequence to itself.
        unsafe { T::causal_conv1d(cpu.isa, part) }
    });
    if parts > 1 && !conv.get().state.is_null() {
        cpu.threads.for_each(batch.len(), |_, sequence| {
            let whole = batch.offsets()[sequence]..batch.offsets()[sequence + 1];
            let (slot, channels) = (batch.slots()[sequence].index(), 0..shape.channels);
            let rows = whole.end..whole.end;
            let part = ConvPart { conv: conv.get(), whole, rows, slot, channels, state: true };
            // SAFETY: as above; no task reads a state any more.
            unsafe { T::causal_conv1d(cpu.isa, part) }
        });
    }
    Ok(())
}

pub struct ConvPart<T> {
    conv: Conv<T>,
    /// The rows of the sequence, and those whose outputs are wanted: none, where only its state is.
    whole: Range<usize>,
    rows: Range<usize>,
    /// `None` for padding.
    slot: Option<usize>,
    channels: Range<usize>,
    /// Whether the state is updated.
    state: bool,
}

impl<T: Element> Kernel for ConvPart<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { conv, whole, rows, slot, channels, state: update } = self;
        // SAFETY: the caller vouches for these rows, this slot and these channels.
        unsafe {
            let Some(slot) = slot else {
                for t in rows {
                    for c in channels.clone() {
                        *conv.output.add(t * conv.output_stride + c) = T::from_f32(0.0);
                    }
                }
                return;
            };
            let state = match conv.state.is_null() {
                true => std::ptr::null_mut(),
                false => conv.state.add(slot * (conv.d_conv - 1) * conv.channels),
            };
            conv.outputs::<S>(whole.start, rows, state, &channels);
            if update && !state.is_null() {
                conv.update_state::<S>(whole, state, channels);
            }
        }
    }
}

impl<T: Element> Conv<T> {
    /// The outputs of some rows of the sequence that starts at row `start`.
    #[inline(always)]
    unsafe fn outputs<S: Simd>(
        &self,
        start: usize,
        rows: Range<usize>,
        state: *const f32,
        channels: &Range<usize>,
    ) {
        // SAFETY: the rows, the state and these channels exist.
        unsafe {
            // the first rows have taps in the state
            let head = rows.start.max(rows.end.min(start + self.d_conv - 1));
            for t in rows.start..head {
                for c in channels.clone().step_by(S::LANES) {
                    self.output_vector::<S>(t, t - start, state, c, S::LANES.min(channels.end - c));
                }
            }
            match self.d_conv {
                1 => self.taps::<S, 1>(head..rows.end, channels),
                2 => self.taps::<S, 2>(head..rows.end, channels),
                3 => self.taps::<S, 3>(head..rows.end, channels),
                4 => self.taps::<S, 4>(head..rows.end, channels),
                _ => {
                    for t in head..rows.end {
                        for c in channels.clone().step_by(S::LANES) {
                            let count = S::LANES.min(channels.end - c);
                            self.output_vector::<S>(t, t - start, state, c, count);
                        }
                    }
                }
            }
        }
    }

    /// The outputs of rows whose taps are all in the sequence.
    #[inline(always)]
    unsafe fn taps<S: Simd, const TAPS: usize>(&self, rows: Range<usize>, channels: &Range<usize>) {
        // SAFETY: the rows and these channels exist, and TAPS - 1 rows before.
        unsafe {
            // eight vectors at once where there are registers for them; else four, of one row, which was faster than of two
            match (S::REGISTERS >= 32, T::DTYPE == DType::F32 && self.past) {
                (true, true) => self.body::<S, TAPS, 2, 4, 8, true>(rows, channels),
                (true, false) => self.body::<S, TAPS, 2, 4, 8, false>(rows, channels),
                (false, true) => self.body::<S, TAPS, 1, 4, 4, true>(rows, channels),
                (false, false) => self.body::<S, TAPS, 1, 4, 4, false>(rows, channels),
            }
        }
    }

    /// The same, `K` vectors of each of `R` rows at once: `N` in all.
    #[inline(always)]
    unsafe fn body<
        S: Simd,
        const TAPS: usize,
        const R: usize,
        const K: usize,
        const N: usize,
        const PAST: bool,
    >(
        &self,
        rows: Range<usize>,
        channels: &Range<usize>,
    ) {
        for start in channels.clone().step_by(CHUNK) {
            let chunk = start..channels.end.min(start + CHUNK);
            // SAFETY: as for `taps`.
            unsafe {
                let mut t = rows.start;
                while rows.end - t >= R {
                    self.row::<S, TAPS, R, K, N, PAST>(t, chunk.clone());
                    t += R;
                }
                if t < rows.end {
                    self.row::<S, TAPS, 1, K, K, PAST>(t, chunk);
                }
            }
        }
        if PAST {
            // SAFETY: the stores are done.
            unsafe { S::publish() };
        }
    }

    /// Some channels of `R` rows from row `t` on.
    #[inline(always)]
    unsafe fn row<
        S: Simd,
        const TAPS: usize,
        const R: usize,
        const K: usize,
        const N: usize,
        const PAST: bool,
    >(
        &self,
        t: usize,
        channels: Range<usize>,
    ) {
        let mut c = channels.start;
        // SAFETY: as for `taps`.
        unsafe {
            if PAST {
                // up to where vectors in memory start
                let first = self.output.add(t * self.output_stride + c);
                let count = (first.align_offset(S::LANES * size_of::<T>())).min(channels.len());
                if count > 0 {
                    self.vectors::<S, TAPS, R, 1, R, false>(t, c, count);
                }
                c += count;
            }
            while channels.end - c >= K * S::LANES {
                self.vectors::<S, TAPS, R, K, N, PAST>(t, c, S::LANES);
                c += K * S::LANES;
            }
            while c < channels.end {
                let count = S::LANES.min(channels.end - c);
                self.vectors::<S, TAPS, R, 1, R, false>(t, c, count);
                c += count;
            }
        }
    }

    /// `K` vectors of each of `R` rows from `(t, c)` on, of `count` channels each. `N` is `R * K`. With `PAST`, vectors of
    /// the output start at multiples of their size.
    #[inline(always)]
    unsafe fn vectors<
        S: Simd,
        const TAPS: usize,
        const R: usize,
        const K: usize,
        const N: usize,
        const PAST: bool,
    >(
        &self,
        t: usize,
        c: usize,
        count: usize,
    ) {
        // SAFETY: as for `taps`; a prefetch may be of any address.
        unsafe {
            let mut sums = [S::splat(0.0); N];
            for k in 0..K {
                let c = c + k * S::LANES;
                if !self.bias.is_null() {
                    let bias = load::<S, f32>(self.bias.add(c), count);
                    for r in 0..R {
                        sums[k * R + r] = bias;
                    }
                }
                for j in 0..TAPS {
                    let weight = load::<S, f32>(self.weight.add(j * self.channels + c), count);
                    for r in 0..R {
                        let x = self.input.add((t + r + j + 1 - TAPS) * self.input_stride + c);
                        sums[k * R + r] = S::fma(weight, load::<S, T>(x, count), sums[k * R + r]);
                    }
                }
            }
            if self.activation == Activation::Silu {
                sums = math::silu::<S, N>(sums);
            }
            for r in 0..R {
                for k in 0..K {
                    let c = c + k * S::LANES;
                    let output = self.output.add((t + r) * self.output_stride + c);
                    // a view of one row may have any stride
                    let next = (t + r + R).wrapping_mul(self.input_stride);
                    S::prefetch(self.input.wrapping_add(next).wrapping_add(c));
                    if PAST {
                        S::store_past(output.cast(), sums[k * R + r]);
                    } else {
                        S::prefetch(output.wrapping_add(self.output_stride.wrapping_mul(R)));
                        store::<S, T>(output, sums[k * R + r], count);
                    }
                }
            }
        }
    }

    /// The output of row `t`, the `age`-th of its sequence, at `count` channels from `c` on.
    #[inline(always)]
    unsafe fn output_vector<S: Simd>(&self, t: usize, age: usize, state: *const f32, c: usize, count: usize) {
        let taps = self.d_conv;
        // SAFETY: a tap that is at most `age` rows back is in the sequence; an older one is in the state.
        unsafe {
            let mut sum = match self.bias.is_null() {
                true => S::splat(0.0),
                false => load::<S, f32>(self.bias.add(c), count),
            };
            for j in 0..taps {
                let back = taps - 1 - j;
                let x = if back <= age {
                    load::<S, T>(self.input.add((t - back) * self.input_stride + c), count)
                } else if state.is_null() {
                    S::splat(0.0)
                } else {
                    load::<S, f32>(state.add((age + j) * self.channels + c), count)
                };
                sum = S::fma(load::<S, f32>(self.weight.add(j * self.channels + c), count), x, sum);
            }
            if self.activation == Activation::Silu {
                [sum] = math::silu::<S, 1>([sum]);
            }
            store::<S, T>(self.output.add(t * self.output_stride + c), sum, count);
        }
    }

    /// The last `d_conv - 1` of the state followed by the inputs, the oldest first.
    #[inline(always)]
    unsafe fn update_state<S: Simd>(&self, rows: Range<usize>, state: *mut f32, channels: Range<usize>) {
        let (kept, length) = (self.d_conv - 1, rows.len());
        for j in 0..kept {
            for c in channels.clone().step_by(S::LANES) {
                let count = S::LANES.min(channels.end - c);
                // SAFETY: `j + length` is a row of the state, or that many less `kept` a row of the sequence. A row
                // of the state is read before it is written, since `j` ascends.
                unsafe {
                    let x = match (j + length).checked_sub(kept) {
                        None => load::<S, f32>(state.add((j + length) * self.channels + c), count),
                        Some(row) => {
                            load::<S, T>(self.input.add((rows.start + row) * self.input_stride + c), count)
                        }
                    };
                    store::<S, f32>(state.add(j * self.channels + c), x, count);
                }
            }
        }
    }
}
