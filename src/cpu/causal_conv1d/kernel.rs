//! The kernel of the convolution: some channels of some rows of a sequence.

use crate::arrays::DType;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::math;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{LoadStore, Simd, load, store};
use crate::ops::Activation;
use crate::with_element_type;
use std::ops::Range;
use std::ptr::NonNull;

/// Channels that go down the rows together: their weights and their last inputs stay in the L2 cache, and a row is
/// long enough for the hardware prefetcher to detect the stream. From memory, 512 was slower.
const COLUMN_BLOCK: usize = 1536;

/// The arrays of a call.
#[derive(Clone, Copy)]
pub(super) struct Conv {
    pub channels: usize,
    pub d_conv: usize,
    pub activation: Activation,
    /// The type of input and output.
    pub dtype: DType,
    pub input: RowPtr,
    /// `[d_conv, channels]`
    pub weight: *const f32,
    pub bias: Option<NonNull<f32>>,
    /// `[slots, d_conv - 1, channels]`
    pub state: Option<NonNull<f32>>,
    pub output: RowPtr,
    /// Whether outputs are written with non-temporal stores: in f32 only, with a stride of whole vectors.
    pub nontemporal: bool,
}

/// Some channels of some rows of a sequence.
pub(super) struct ConvJob {
    pub conv: Conv,
    /// The rows of the whole sequence, and those whose outputs are computed: none, if only the state is updated.
    pub sequence: Range<usize>,
    pub rows: Range<usize>,
    pub slot: usize,
    pub channels: Range<usize>,
    /// Whether the state is updated.
    pub update: bool,
}

kernel! {
    /// The convolution of some channels of some rows.
    pub(super) fn conv(ConvJob) = conv_body;
}

/// # Safety
/// 1. Input and output have type `dtype`, the rows of the sequence and `channels` columns; weight, bias and state have the
///    shapes stated in [`Conv`]; the state has the slot.
/// 2. The job's rows are within its sequence, and its channels within `0..channels`.
/// 3. Nobody else accesses these rows and channels of the output meanwhile; with `update`, nobody else accesses these
///    channels of the slot.
/// 4. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn conv_body<S: Simd>(job: &ConvJob) {
    debug_assert!(job.sequence.start <= job.rows.start && job.rows.end <= job.sequence.end);
    debug_assert!(job.channels.end <= job.conv.channels);
    // SAFETY: the type is that of the arrays (1); the other conditions are the same.
    unsafe { with_element_type!(job.conv.dtype, T => conv_of::<S, T>(job), else => unreachable!()) }
}

/// # Safety
/// As for [`conv_body`], with `T` for `dtype`.
#[inline(always)]
unsafe fn conv_of<S: Simd, T: LoadStore>(job: &ConvJob) {
    let Conv { d_conv, channels, state, .. } = job.conv;
    // SAFETY: the state has the slot (1); the other conditions are the same.
    unsafe {
        let state = state.map(|state| state.as_ptr().add(job.slot * (d_conv - 1) * channels));
        outputs::<S, T>(job, state);
        if let Some(state) = state.filter(|_| job.update) {
            update_state::<S, T>(job, state);
        }
    }
}

/// The outputs of the job's rows.
///
/// # Safety
/// As for [`conv_of`]; `state` is that of the slot.
#[inline(always)]
unsafe fn outputs<S: Simd, T: LoadStore>(job: &ConvJob, state: Option<*mut f32>) {
    let ConvJob { conv, rows, channels, .. } = job;
    // SAFETY: the conditions are the same. From `head` on, the d_conv - 1 rows before a row are in the sequence.
    unsafe {
        // the first rows have taps in the state
        let head = rows.start.max(rows.end.min(job.sequence.start + conv.d_conv - 1));
        let (first, rest) = (rows.start..head, head..rows.end);
        rows_of_any_width::<S, T>(job, first, state);
        match conv.d_conv {
            1 => rows_of::<S, T, 1>(conv, rest, channels),
            2 => rows_of::<S, T, 2>(conv, rest, channels),
            3 => rows_of::<S, T, 3>(conv, rest, channels),
            4 => rows_of::<S, T, 4>(conv, rest, channels),
            _ => rows_of_any_width::<S, T>(job, rest, state),
        }
    }
}

/// The outputs of rows with any number of taps, in the sequence or in the state.
///
/// # Safety
/// As for [`outputs`], for these rows.
#[inline(always)]
unsafe fn rows_of_any_width<S: Simd, T: LoadStore>(
    job: &ConvJob,
    rows: Range<usize>,
    state: Option<*mut f32>,
) {
    for t in rows {
        for c in job.channels.clone().step_by(S::LANES) {
            // SAFETY: the row is the `t - start`-th of the sequence, and the channels are the job's (2).
            unsafe {
                let count = S::LANES.min(job.channels.end - c);
                vector_of_any_width::<S, T>(&job.conv, t, t - job.sequence.start, state, c, count);
            }
        }
    }
}

/// The output of row `t`, the `age`-th of its sequence, at `count` channels from `c` on.
///
/// # Safety
/// As for [`outputs`], for this row and these channels.
#[inline(always)]
unsafe fn vector_of_any_width<S: Simd, T: LoadStore>(
    conv: &Conv,
    t: usize,
    age: usize,
    state: Option<*mut f32>,
    c: usize,
    count: usize,
) {
    let taps = conv.d_conv;
    // SAFETY: a tap at most `age` rows back is in the sequence; an older one is in the state, at row `age + j`.
    unsafe {
        let mut sum = match conv.bias {
            None => S::splat(0.0),
            Some(bias) => load::<S, f32>(bias.as_ptr().add(c), count),
        };
        for j in 0..taps {
            let back = taps - 1 - j;
            let x = if back <= age {
                load::<S, T>(conv.input.at(t - back, c), count)
            } else {
                match state {
                    None => S::splat(0.0),
                    Some(state) => load::<S, f32>(state.add((age + j) * conv.channels + c), count),
                }
            };
            sum = S::fma(load::<S, f32>(conv.weight.add(j * conv.channels + c), count), x, sum);
        }
        if conv.activation == Activation::Silu {
            [sum] = math::silu::<S, 1>([sum]);
        }
        store::<S, T>(conv.output.at(t, c), sum, count);
    }
}

/// The outputs of rows whose `TAPS` taps are all in the sequence.
///
/// # Safety
/// As for [`outputs`], for these rows and channels; the TAPS - 1 rows before them are in the sequence.
#[inline(always)]
unsafe fn rows_of<S: Simd, T: LoadStore, const TAPS: usize>(
    conv: &Conv,
    rows: Range<usize>,
    channels: &Range<usize>,
) {
    // SAFETY: the conditions are the same; `nontemporal` is set for f32 with a suitable stride only.
    unsafe {
        // eight vectors at once if there are registers for them; else four, of one row, which was faster than of two
        match (S::REGISTERS >= 32, conv.nontemporal && size_of::<T>() == size_of::<f32>()) {
            (true, true) => blocks::<S, T, TAPS, 2, 8, true>(conv, rows, channels),
            (true, false) => blocks::<S, T, TAPS, 2, 8, false>(conv, rows, channels),
            (false, true) => blocks::<S, T, TAPS, 1, 4, true>(conv, rows, channels),
            (false, false) => blocks::<S, T, TAPS, 1, 4, false>(conv, rows, channels),
        }
    }
}

/// The same, `ROWS` rows at a time, `N` vectors at once, with or without non-temporal stores.
///
/// # Safety
/// As for [`rows_of`].
#[inline(always)]
unsafe fn blocks<
    S: Simd,
    T: LoadStore,
    const TAPS: usize,
    const ROWS: usize,
    const N: usize,
    const NONTEMPORAL: bool,
>(
    conv: &Conv,
    rows: Range<usize>,
    channels: &Range<usize>,
) {
    for start in channels.clone().step_by(COLUMN_BLOCK) {
        let block = start..channels.end.min(start + COLUMN_BLOCK);
        // SAFETY: the rows and channels are those of the caller.
        unsafe {
            let mut t = rows.start;
            while rows.end - t >= ROWS {
                row::<S, T, TAPS, ROWS, N, NONTEMPORAL>(conv, t, block.clone());
                t += ROWS;
            }
            if t < rows.end {
                // one row is left over, of two
                row::<S, T, TAPS, 1, 4, NONTEMPORAL>(conv, t, block);
            }
        }
    }
    if NONTEMPORAL {
        // SAFETY: condition 4.
        unsafe { S::fence_nontemporal() };
    }
}

/// Some channels of `ROWS` rows from row `t` on.
///
/// # Safety
/// As for [`rows_of`], for these rows and channels.
#[inline(always)]
unsafe fn row<
    S: Simd,
    T: LoadStore,
    const TAPS: usize,
    const ROWS: usize,
    const N: usize,
    const NONTEMPORAL: bool,
>(
    conv: &Conv,
    t: usize,
    channels: Range<usize>,
) {
    let (mut c, wide) = (channels.start, N / ROWS * S::LANES);
    // SAFETY: `count` channels from `c` on are among the caller's; after the first `count` ones, vectors of the output
    // start at multiples of their size.
    unsafe {
        if NONTEMPORAL {
            let first = conv.output.at::<T>(t, c);
            let count = first.align_offset(S::LANES * size_of::<T>()).min(channels.len());
            if count > 0 {
                vectors::<S, T, TAPS, ROWS, ROWS, false>(conv, t, c, count);
            }
            c += count;
        }
        while channels.end - c >= wide {
            vectors::<S, T, TAPS, ROWS, N, NONTEMPORAL>(conv, t, c, S::LANES);
            c += wide;
        }
        while c < channels.end {
            let count = S::LANES.min(channels.end - c);
            vectors::<S, T, TAPS, ROWS, ROWS, false>(conv, t, c, count);
            c += count;
        }
    }
}

/// `N / ROWS` vectors of each of `ROWS` rows from `(t, c)` on, of `count` channels each.
///
/// # Safety
/// As for [`rows_of`], for these rows and channels. With `NONTEMPORAL`, `T` is f32 and every vector of the output starts
/// at a multiple of its size.
#[inline(always)]
unsafe fn vectors<
    S: Simd,
    T: LoadStore,
    const TAPS: usize,
    const ROWS: usize,
    const N: usize,
    const NONTEMPORAL: bool,
>(
    conv: &Conv,
    t: usize,
    c: usize,
    count: usize,
) {
    // SAFETY: the taps of row `t + r` are the TAPS rows up to it, which exist; a prefetch may be of any address.
    unsafe {
        let mut sums = [S::splat(0.0); N];
        for k in 0..N / ROWS {
            let c = c + k * S::LANES;
            if let Some(bias) = conv.bias {
                let bias = load::<S, f32>(bias.as_ptr().add(c), count);
                for r in 0..ROWS {
                    sums[k * ROWS + r] = bias;
                }
            }
            for j in 0..TAPS {
                let weight = load::<S, f32>(conv.weight.add(j * conv.channels + c), count);
                for r in 0..ROWS {
                    let x = load::<S, T>(conv.input.at(t + r + j + 1 - TAPS, c), count);
                    sums[k * ROWS + r] = S::fma(weight, x, sums[k * ROWS + r]);
                }
            }
        }
        if conv.activation == Activation::Silu {
            sums = math::silu::<S, N>(sums);
        }
        for r in 0..ROWS {
            for k in 0..N / ROWS {
                let c = c + k * S::LANES;
                let output = conv.output.at::<T>(t + r, c);
                S::prefetch(conv.input.wrapping_at::<T>(t + r + ROWS, c));
                if NONTEMPORAL {
                    S::store_nontemporal(output.cast(), sums[k * ROWS + r]);
                } else {
                    S::prefetch(conv.output.wrapping_at::<T>(t + r + ROWS, c));
                    store::<S, T>(output, sums[k * ROWS + r], count);
                }
            }
        }
    }
}

/// The state after the sequence: its last `d_conv - 1` rows, or what is left of the state before it, the oldest first.
///
/// # Safety
/// As for [`conv_of`]; `state` is that of the slot.
#[inline(always)]
unsafe fn update_state<S: Simd, T: LoadStore>(job: &ConvJob, state: *mut f32) {
    let ConvJob { conv, sequence, channels, .. } = job;
    let (kept, length) = (conv.d_conv - 1, sequence.len());
    for j in 0..kept {
        for c in channels.clone().step_by(S::LANES) {
            let count = S::LANES.min(channels.end - c);
            // SAFETY: `j + length` is a row of the state, or that many less `kept` a row of the sequence. A row of the
            // state is read before it is written, since `j` ascends.
            unsafe {
                let x = match (j + length).checked_sub(kept) {
                    None => load::<S, f32>(state.add((j + length) * conv.channels + c), count),
                    Some(row) => load::<S, T>(conv.input.at(sequence.start + row, c), count),
                };
                store::<S, f32>(state.add(j * conv.channels + c), x, count);
            }
        }
    }
}
