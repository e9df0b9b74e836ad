//! One strip of the scan: a vector of channels times a block of tokens, in passes.
//!
//! # Safety
//! Of every pass:
//! 1. The arrays of the scan have type `T` and its shapes; the rows and channels of the strip exist.
//! 2. `b` and `c` have the rows of the block in f32, from row 0 on; `h` is `[d_state, channels]`.
//! 3. The scratch has [`Scratch::size`] numbers. Nobody else accesses it, and these channels of the output and of `h`.
//! 4. The CPU has the target features of `S`.

use super::arrays::{SUMS, Scan, Scratch};
use super::step::{Extremes, QUIET, audible, decays, recur_step, update};
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::math;
use crate::cpu::simd::{LoadStore, MAX_LANES, Simd, load, store};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

/// Tokens at once in the passes before and after the recurrence.
const TOKENS: usize = 4;

/// States at once in the scan without outputs.
const STATES: usize = 8;

/// One vector of channels in one block of tokens.
pub(super) struct Strip<'a, T> {
    scan: &'a Scan,
    scratch: &'a Scratch,
    rows: Range<usize>,
    /// First channel, and how many.
    channel: usize,
    count: usize,
    /// Rows of the block, `[tokens, n_groups * d_state]`.
    b: RowPtr,
    c: RowPtr,
    /// The column of `b` and `c` at which the strip's group starts.
    first: usize,
    /// `[d_state, channels]` of the sequence.
    h: *mut f32,
    /// Row and channel at which the strip after this one starts: what is prefetched.
    next: (usize, usize),
    dtype: PhantomData<T>,
}

impl<'a, T: LoadStore> Strip<'a, T> {
    /// Strip `index` of a job's strips, in one block of its rows. `coefficients` are the rows of `b` and `c` in f32.
    #[inline(always)]
    pub fn new<S: Simd>(
        scan: &'a Scan,
        scratch: &'a Scratch,
        rows: &Range<usize>,
        strips: &Range<usize>,
        index: usize,
        (b, c): (RowPtr, RowPtr),
        h: *mut f32,
    ) -> Self {
        let (group, channels) = scan.strip(S::LANES, index);
        let next = match index + 1 < strips.end {
            true => (rows.start, scan.strip(S::LANES, index + 1).1.start),
            false => (rows.end, scan.strip(S::LANES, strips.start).1.start),
        };
        let (channel, count) = (channels.start, channels.len());
        let first = group * scan.d_state;
        Self { scan, scratch, rows: rows.clone(), channel, count, b, c, first, h, next, dtype: PhantomData }
    }

    /// Pass 1: delta and delta · u, and what they say about the block.
    ///
    /// # Safety
    /// 1 to 4 of the module.
    #[inline(always)]
    pub unsafe fn prepare_delta<S: Simd>(&self) -> Extremes<S> {
        // SAFETY: the channels exist (1); tokens `i..i + K` are among those of the block.
        unsafe {
            let bias = self.load_channels::<S>(self.scan.delta_bias);
            let mut seen = (S::splat(-0.0), S::splat(f32::NEG_INFINITY));
            let mut i = 0;
            while self.rows.len() - i >= TOKENS {
                self.prepare_delta_of::<S, TOKENS>(i, bias, &mut seen);
                i += TOKENS;
            }
            for i in i..self.rows.len() {
                self.prepare_delta_of::<S, 1>(i, bias, &mut seen);
            }
            let (delta, mut du) = seen;
            if self.count < S::LANES {
                // lanes without a channel have zeros
                let mut lanes = [f32::NEG_INFINITY; MAX_LANES];
                S::store_first(lanes.as_mut_ptr(), du, self.count);
                du = S::load(lanes.as_ptr());
            }
            Extremes { delta, quiet: S::any_above(du, S::splat(-QUIET)) }
        }
    }

    /// The strip's channels of a vector `[channels]`, if there is one.
    ///
    /// # Safety
    /// 1 and 4 of the module.
    #[inline(always)]
    unsafe fn load_channels<S: Simd>(&self, vector: Option<NonNull<f32>>) -> Option<S::F> {
        match vector {
            None => None,
            // SAFETY: the vector has the strip's channels (1).
            Some(vector) => Some(unsafe { load::<S, f32>(vector.as_ptr().add(self.channel), self.count) }),
        }
    }

    /// Pass 1 of `K` tokens from the `i`-th of the block on.
    ///
    /// # Safety
    /// 1 to 4 of the module, and the block has these tokens.
    #[inline(always)]
    unsafe fn prepare_delta_of<S: Simd, const K: usize>(
        &self,
        i: usize,
        bias: Option<S::F>,
        (largest, smallest): &mut (S::F, S::F),
    ) {
        let (scan, c, count) = (self.scan, self.channel, self.count);
        // SAFETY: the rows and channels exist (1); the scratch holds a vector per token of a block (3).
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
                let u = S::flush(load::<S, T>(scan.u.at(self.rows.start + i + k, c), count));
                let du = S::mul(delta[k], u);
                // a NaN is left out
                *largest = S::min(S::neg_abs(delta[k]), *largest);
                *smallest = S::max(S::neg_abs(du), *smallest);
                S::store(self.scratch.delta.add((i + k) * S::LANES), delta[k]);
                S::store(self.scratch.du.add((i + k) * S::LANES), du);
            }
        }
    }

    /// Pass 2: the states in groups that fit in registers. Leaves the partial sums in the scratch. `extremes` is what pass
    /// 1 gives.
    ///
    /// # Safety
    /// 1 to 4 of the module.
    #[inline(always)]
    pub unsafe fn recurrence<S: Simd>(&self, extremes: Extremes<S>) {
        let d_state = self.scan.d_state;
        // SAFETY: the groups cover the states 0..d_state once.
        unsafe {
            let mut n = 0;
            while d_state - n >= 16 {
                self.recur::<S, 16, 4>(n, extremes);
                n += 16;
            }
            while d_state - n >= 4 {
                self.recur::<S, 4, 4>(n, extremes);
                n += 4;
            }
            match d_state - n {
                3 => self.recur::<S, 3, 3>(n, extremes),
                2 => self.recur::<S, 2, 2>(n, extremes),
                1 => self.recur::<S, 1, 1>(n, extremes),
                _ => {}
            }
        }
    }

    /// `N` states from `first`, a multiple of four, on; `K` at once, which is four or all.
    ///
    /// # Safety
    /// 1 to 4 of the module, and `first + N <= d_state`.
    #[inline(always)]
    unsafe fn recur<S: Simd, const N: usize, const K: usize>(&self, first: usize, extremes: Extremes<S>) {
        // SAFETY: the states exist.
        unsafe {
            let (a, h) = self.load_states::<S, N>(first);
            // a few states are not worth code of their own
            let h = match N >= 4 && extremes.ordinary::<N>(&a) {
                true => self.recur_tokens::<S, N, K, true>(first, &a, h),
                false => self.recur_tokens::<S, N, K, false>(first, &a, h),
            };
            self.store_states::<S, N>(first, h);
        }
    }

    /// The tokens of the block in these states. `ORDINARY`: [`Extremes::ordinary`].
    ///
    /// # Safety
    /// 1 to 4 of the module, and `first + N <= d_state`.
    #[inline(always)]
    unsafe fn recur_tokens<S: Simd, const N: usize, const K: usize, const ORDINARY: bool>(
        &self,
        first: usize,
        a: &[S::F; N],
        mut h: [S::F; N],
    ) -> [S::F; N] {
        // SAFETY: the states exist; the scratch holds SUMS vectors per token of a block (3).
        unsafe {
            for i in 0..self.rows.len() {
                let delta = S::load(self.scratch.delta.add(i * S::LANES));
                let (du, least) = audible::<S, ORDINARY>(S::load(self.scratch.du.add(i * S::LANES)));
                let b = self.b.at::<f32>(i, self.first + first).cast_const();
                let c = self.c.at::<f32>(i, self.first + first).cast_const();
                let sums_at = self.scratch.sums.add(i * SUMS * S::LANES);
                let mut sums = [S::splat(0.0); SUMS];
                if first == 0 {
                    self.scan.prefetch::<S, T>(self.next.0 + i, self.next.1);
                } else {
                    for j in 0..SUMS {
                        sums[j] = S::load(sums_at.add(j * S::LANES));
                    }
                }
                // four calls, since the compiler leaves a loop of this size as one, with `h` in memory
                recur_step::<S, N, K, 0, ORDINARY>((delta, du, least), (b, c), a, &mut h, &mut sums);
                recur_step::<S, N, K, 4, ORDINARY>((delta, du, least), (b, c), a, &mut h, &mut sums);
                recur_step::<S, N, K, 8, ORDINARY>((delta, du, least), (b, c), a, &mut h, &mut sums);
                recur_step::<S, N, K, 12, ORDINARY>((delta, du, least), (b, c), a, &mut h, &mut sums);
                for j in 0..SUMS {
                    S::store(sums_at.add(j * S::LANES), sums[j]);
                }
            }
        }
        h
    }

    /// In place of passes 2 and 3, for a chunk: the states without outputs, and the sum of delta in the scratch.
    ///
    /// # Safety
    /// 1 to 4 of the module.
    #[inline(always)]
    pub unsafe fn scan_states<S: Simd>(&self, extremes: Extremes<S>) {
        let d_state = self.scan.d_state;
        // SAFETY: the scratch has a sum per channel (3); the groups cover the states 0..d_state once.
        unsafe {
            let delta_sum = self.scratch.h.add(self.channel);
            let mut sum = load::<S, f32>(delta_sum, self.count);
            for i in 0..self.rows.len() {
                sum = S::add(sum, S::load(self.scratch.delta.add(i * S::LANES)));
            }
            store::<S, f32>(delta_sum, sum, self.count);
            let mut n = 0;
            while d_state - n >= STATES {
                self.scan_states_of::<S, STATES>(n, extremes);
                n += STATES;
            }
            for n in n..d_state {
                self.scan_states_of::<S, 1>(n, extremes);
            }
        }
    }

    /// `N` states from `first` on.
    ///
    /// # Safety
    /// 1 to 4 of the module, and `first + N <= d_state`.
    #[inline(always)]
    unsafe fn scan_states_of<S: Simd, const N: usize>(&self, first: usize, extremes: Extremes<S>) {
        // SAFETY: the states exist.
        unsafe {
            let (a, h) = self.load_states::<S, N>(first);
            let h = match extremes.ordinary::<N>(&a) {
                true => self.scan_states_tokens::<S, N, true>(first, &a, h),
                false => self.scan_states_tokens::<S, N, false>(first, &a, h),
            };
            self.store_states::<S, N>(first, h);
        }
    }

    /// The tokens of the block in these states. `ORDINARY`: [`Extremes::ordinary`].
    ///
    /// # Safety
    /// 1 to 4 of the module, and `first + N <= d_state`.
    #[inline(always)]
    unsafe fn scan_states_tokens<S: Simd, const N: usize, const ORDINARY: bool>(
        &self,
        first: usize,
        a: &[S::F; N],
        mut h: [S::F; N],
    ) -> [S::F; N] {
        // SAFETY: the states exist; the scratch holds a vector per token of a block (3).
        unsafe {
            for i in 0..self.rows.len() {
                let delta = S::load(self.scratch.delta.add(i * S::LANES));
                let (du, least) = audible::<S, ORDINARY>(S::load(self.scratch.du.add(i * S::LANES)));
                let b = self.b.at::<f32>(i, self.first + first).cast_const();
                if first == 0 {
                    self.scan.prefetch::<S, T>(self.next.0 + i, self.next.1);
                }
                let decay = decays::<S, N, ORDINARY>(delta, a, 0);
                for n in 0..N {
                    h[n] = update::<S, ORDINARY>(decay[n], h[n], S::mul(du, S::splat(*b.add(n))), least);
                }
            }
        }
        h
    }

    /// The binary logarithm of the product of a chunk's decays, `Σ delta · (a · log2 e)`, from the sum of delta.
    ///
    /// # Safety
    /// 1 to 4 of the module, and `exponent` is `[d_state, channels]`.
    #[inline(always)]
    pub unsafe fn total_exponent<S: Simd>(&self, exponent: *mut f32) {
        let (scan, count) = (self.scan, self.count);
        // SAFETY: the channels are in the scratch's sums, in `a` and in `exponent`.
        unsafe {
            let sum = load::<S, f32>(self.scratch.h.add(self.channel), count);
            for n in 0..scan.d_state {
                let at = n * scan.channels + self.channel;
                let a = S::mul(load::<S, f32>(scan.a.add(at), count), S::splat(math::LOG2_E));
                store::<S, f32>(exponent.add(at), S::mul(sum, a), count);
            }
        }
    }

    /// `a · log2 e` and `h` of `N` states from `first` on.
    ///
    /// # Safety
    /// 1, 2 and 4 of the module, and `first + N <= d_state`.
    #[inline(always)]
    unsafe fn load_states<S: Simd, const N: usize>(&self, first: usize) -> ([S::F; N], [S::F; N]) {
        // SAFETY: the states exist, and both arrays are `[d_state, channels]` (1, 2).
        unsafe {
            let mut a = [S::splat(0.0); N];
            let mut h = [S::splat(0.0); N];
            for n in 0..N {
                let at = (first + n) * self.scan.channels + self.channel;
                a[n] = S::mul(load::<S, f32>(self.scan.a.add(at), self.count), S::splat(math::LOG2_E));
                h[n] = load::<S, f32>(self.h.add(at), self.count);
            }
            (a, h)
        }
    }

    /// # Safety
    /// 2 to 4 of the module, and `first + N <= d_state`.
    #[inline(always)]
    unsafe fn store_states<S: Simd, const N: usize>(&self, first: usize, h: [S::F; N]) {
        for n in 0..N {
            // SAFETY: the states exist, and `h` is `[d_state, channels]` (2).
            unsafe {
                let at = (first + n) * self.scan.channels + self.channel;
                store::<S, f32>(self.h.add(at), h[n], self.count);
            }
        }
    }

    /// Pass 3: the sum of the partial sums, d, the gate and the store.
    ///
    /// # Safety
    /// 1 to 4 of the module.
    #[inline(always)]
    pub unsafe fn finish<S: Simd>(&self) {
        // SAFETY: the channels exist (1); tokens `i..i + K` are among those of the block.
        unsafe {
            let d = self.load_channels::<S>(self.scan.d);
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
    ///
    /// # Safety
    /// 1 to 4 of the module, and the block has these tokens.
    #[inline(always)]
    unsafe fn finish_of<S: Simd, const K: usize>(&self, i: usize, d: Option<S::F>) {
        let (scan, c, count) = (self.scan, self.channel, self.count);
        // SAFETY: the rows and channels exist (1); the scratch holds SUMS vectors per token of a block (3).
        unsafe {
            let mut y = [S::splat(0.0); K];
            for k in 0..K {
                let sums = self.scratch.sums.add((i + k) * SUMS * S::LANES);
                let first = S::add(S::load(sums), S::load(sums.add(S::LANES)));
                let second = S::add(S::load(sums.add(2 * S::LANES)), S::load(sums.add(3 * S::LANES)));
                y[k] = S::add(first, second);
                if let Some(d) = d {
                    let u = S::flush(load::<S, T>(scan.u.at(self.rows.start + i + k, c), count));
                    y[k] = S::fma(u, d, y[k]);
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
                store::<S, T>(scan.output.at(self.rows.start + i + k, c), y[k], count);
            }
        }
    }
}
