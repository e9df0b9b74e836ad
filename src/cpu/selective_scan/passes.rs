//! One block of tokens of one vector of channels: the passes of the scan.

use super::{SUMS, Scan, Scratch, TOKENS};
use crate::arrays::Element;
use crate::cpu::math;
use crate::cpu::simd::{Simd, load, store};
use std::ops::Range;

/// States at once in the scan without outputs.
const LOCAL: usize = 8;

/// One block of tokens of one vector of channels.
pub(super) struct Tile<'a, T> {
    pub scan: &'a Scan<T>,
    pub scratch: &'a Scratch,
    pub rows: Range<usize>,
    /// First channel, and how many.
    pub channel: usize,
    pub count: usize,
    /// `[BLOCK, ..]` of the tile's group, with this row stride.
    pub b: *const f32,
    pub c: *const f32,
    pub b_stride: usize,
    pub c_stride: usize,
    /// `[d_state, channels]` of the sequence.
    pub h: *mut f32,
    /// Row and channel at which the tile after this one starts.
    pub next: (usize, usize),
}

impl<T: Element> Tile<'_, T> {
    /// Pass 1: delta and delta · u.
    #[inline(always)]
    pub unsafe fn steps<S: Simd>(&self) {
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
    pub unsafe fn recurrence<S: Simd>(&self) {
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

    /// In place of passes 2 and 3: the states without outputs, and the sum of delta, which goes on in row 0 of `decay`.
    #[inline(always)]
    pub unsafe fn local<S: Simd>(&self, decay: *mut f32) {
        let (scan, count) = (self.scan, self.count);
        // SAFETY: as for `recurrence`; `decay` has a row of channels.
        unsafe {
            let mut sum = load::<S, f32>(decay.add(self.channel), count);
            for i in 0..self.rows.len() {
                sum = S::add(sum, S::load(self.scratch.delta.add(i * S::LANES)));
            }
            store::<S, f32>(decay.add(self.channel), sum, count);
            let mut n = 0;
            while scan.d_state - n >= LOCAL {
                self.local_group::<S, LOCAL>(n);
                n += LOCAL;
            }
            for n in n..scan.d_state {
                self.local_group::<S, 1>(n);
            }
        }
    }

    /// `N` states from `first` on.
    #[inline(always)]
    unsafe fn local_group<S: Simd, const N: usize>(&self, first: usize) {
        let (scan, count) = (self.scan, self.count);
        // SAFETY: the states exist.
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
                if first == 0 {
                    scan.prefetch::<S>(self.next.0 + i, self.next.1);
                }
                let mut decay = [delta; N];
                for n in 0..N {
                    decay[n] = S::mul(delta, a[n]);
                }
                decay = math::exp2::<S, N>(decay);
                for n in 0..N {
                    h[n] = S::fma(decay[n], h[n], S::mul(du, S::splat(*b.add(n))));
                }
            }
            for n in 0..N {
                store::<S, f32>(self.h.add((first + n) * scan.channels + self.channel), h[n], count);
            }
        }
    }

    /// The product of all decays, `exp2(Σ delta · (a · log2 e))`, from the sum in row 0.
    #[inline(always)]
    pub unsafe fn decays<S: Simd>(&self, decay: *mut f32) {
        let (scan, count) = (self.scan, self.count);
        // SAFETY: as for `local`; `decay` has a row per state.
        unsafe {
            let sum = load::<S, f32>(decay.add(self.channel), count);
            for n in 0..scan.d_state {
                let at = n * scan.channels + self.channel;
                let a = S::mul(load::<S, f32>(scan.a.add(at), count), S::splat(math::LOG2_E));
                let [product] = math::exp2::<S, 1>([S::mul(sum, a)]);
                store::<S, f32>(decay.add(at), product, count);
            }
        }
    }

    /// Pass 3: the sum of the partial sums, d, the gate and the store.
    #[inline(always)]
    pub unsafe fn finish<S: Simd>(&self) {
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
