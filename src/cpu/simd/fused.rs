//! Fused multiply-adds of arrays on targets without the instruction, where `f32::mul_add` is a call per number.
//!
//! ```text
//! p = a · b in f64, exactly: two factors of 24 bits; s = p + c in f64, rounded; the result is s in f32
//! ```
//!
//! The second rounding is wrong at most where the first one was not exact and `s` lies in the middle between two
//! neighbouring f32 numbers. Below the smallest normal f32 number such middles have many forms, elsewhere one. Two tests
//! find these sums, and [`rounded_to_odd`] computes them again:
//! 1. the low 29 bits of `s`, those that f32 has no room for, are a one and zeros;
//! 2. the result is subnormal or the smallest normal number. A result of zero is right: a sum below half of the
//!    smallest subnormal number is never a middle, and at half of it `p` has at most 48 bits above `2^-198`, so the sum
//!    of it and of a multiple of 2^-149 is exact.

/// Whether the target lacks the instruction, so that [`fused`] is faster than `f32::mul_add`.
pub const EMULATED: bool = cfg!(all(
    any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "wasm32",
        target_arch = "wasm64"
    ),
    not(target_feature = "fma")
));

/// `a · b + c`, rounded once.
#[inline(always)]
pub fn fused<const N: usize>(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
    let mut sums = [0.0f64; N];
    let mut results = [0.0f32; N];
    for i in 0..N {
        sums[i] = f64::from(a[i]) * f64::from(b[i]) + f64::from(c[i]);
    }
    for i in 0..N {
        results[i] = sums[i] as f32;
    }
    let mut doubtful = false;
    for i in 0..N {
        let middle = (sums[i].to_bits() as u32) << 3 == 1 << 31;
        // twice the magnitude, moved so that 2 becomes the smallest number and 0 the largest
        let magnitude = (results[i].to_bits() << 1).wrapping_add((1 << 31) - 2) as i32;
        doubtful |= middle | (magnitude <= i32::MIN + (1 << 24) - 2);
    }
    if doubtful { again(a, b, c) } else { results }
}

/// [`rounded_to_odd`], out of the way. The copies keep the arrays of the caller in registers.
#[inline(always)]
fn again<const N: usize>(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
    let copy = |x: [f32; N]| std::array::from_fn(|i| x[i]);
    rounded_to_odd(&copy(a), &copy(b), &copy(c))
}

/// `a · b + c`, rounded once: the sum in f64 is rounded to odd, which keeps what it loses in its last bit. Since f64 has
/// more than two bits more than f32, the second rounding is then right, for subnormal results and overflow too.
#[cold]
#[inline(never)]
fn rounded_to_odd<const N: usize>(a: &[f32; N], b: &[f32; N], c: &[f32; N]) -> [f32; N] {
    let mut results = [0.0f32; N];
    for i in 0..N {
        let (product, c) = (f64::from(a[i]) * f64::from(b[i]), f64::from(c[i]));
        let sum = product + c;
        // Knuth's TwoSum: what the rounding took away, exactly; a NaN if the sum is infinite
        let rest = sum - product;
        let lost = (product - (sum - rest)) + (c - rest);
        // neither factor is so small that this underflows
        let direction = lost * sum;
        let above = u64::from(direction < 0.0); // the sum is greater than the exact one, in magnitude
        let inexact = above | u64::from(direction > 0.0);
        results[i] = f64::from_bits((sum.to_bits() - above) | inexact) as f32;
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{Rng, SeedableRng};

    /// A number of any kind: any bits, few bits, subnormal, near 1, near 2^-70, near 2^-126, special.
    fn number(random: &mut impl Rng) -> f32 {
        let (bits, kind) = (random.next_u32(), random.next_u32());
        let fraction = bits & 0x807f_ffff;
        let exponent = |from: u32, count: u32| (from + (kind >> 8) % count) << 23;
        const SPECIAL: [f32; 8] =
            [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::MAX];
        f32::from_bits(match kind % 9 {
            0 => bits,
            1 => bits & 0x8000_0fff | exponent(120, 16),
            2 => fraction,
            3 => fraction | exponent(100, 50),
            4 => fraction & 0xffff_0000 | exponent(50, 60),
            5 => 1 << (bits % 31) | 1 << ((kind >> 8) % 24),
            6 => fraction | exponent(56, 12),
            7 => fraction | exponent(1, 30),
            _ => SPECIAL[bits as usize % SPECIAL.len()].to_bits(),
        })
    }

    /// A third number: any, one that cancels the product almost, or one of a given ratio to it.
    fn addend(random: &mut impl Rng, a: f32, b: f32) -> f32 {
        match random.next_u32() % 4 {
            0 => f32::from_bits((-a * b).to_bits().wrapping_add(random.next_u32() % 5).wrapping_sub(2)),
            1 => a * b * f32::from_bits((97 + random.next_u32() % 60) << 23),
            _ => number(random),
        }
    }

    #[track_caller]
    fn check(a: [f32; 8], b: [f32; 8], c: [f32; 8]) {
        let (fast, odd) = (fused(a, b, c), rounded_to_odd(&a, &b, &c));
        for i in 0..8 {
            let expected = a[i].mul_add(b[i], c[i]);
            for (name, found) in [("fused", fast[i]), ("rounded_to_odd", odd[i])] {
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{name}({:e}, {:e}, {:e}) = {found:e}, not {expected:e}", a[i], b[i], c[i]);
            }
        }
    }

    #[test]
    fn sums_are_rounded_once() {
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(1);
        for _ in 0..300_000 {
            let (a, b): ([f32; 8], [f32; 8]) =
                (std::array::from_fn(|_| number(&mut random)), std::array::from_fn(|_| number(&mut random)));
            check(a, b, std::array::from_fn(|i| addend(&mut random, a[i], b[i])));
        }
    }

    /// Products of 1 and a little more or less, which is lost in f64 next to 2^24 times as much.
    fn near_one() -> [(f32, f32); 3] {
        let x = 2f32.powi(-11);
        let y = 2f32.powi(-23);
        [(1.0 + x, 1.0 - x + x * x), (1.0 + y, 1.0 - y), (1.0, 1.0)]
    }

    /// Checks the sums of `c` and of products near `2^exponent` with all signs, everywhere and in a single place.
    fn check_near(c: f32, exponent: i32) {
        let scale = |x: f32, exponent: i32| (f64::from(x) * 2f64.powi(exponent)) as f32;
        for (a, b) in near_one() {
            let (a, b) = (scale(a, exponent / 2), scale(b, exponent - exponent / 2));
            for (a, c) in [(a, c), (-a, c), (a, -c), (-a, -c)] {
                check([a; 8], [b; 8], [c; 8]);
                for lane in [0, 3, 7] {
                    let only = |x: f32| std::array::from_fn(|i| if i == lane { x } else { 0.75 });
                    check(only(a), only(b), only(c));
                }
            }
        }
    }

    /// Sums whose distance from the middle between two f32 numbers, on either side, is lost in f64: up to overflow, and
    /// among subnormal numbers.
    #[test]
    fn sums_next_to_the_middle() {
        for exponent in -126..=127i32 {
            for fraction in [0, 1, 0x40_0001, 0x7f_fffe, 0x7f_ffff] {
                let c = f32::from_bits(((exponent + 127) as u32) << 23 | fraction);
                check_near(c, exponent - 24);
                check_near(c, exponent - 25);
            }
        }
        for fraction in [0, 1, 2, 3, 4095, 0x3f_ffff, 0x40_0000, 0x7f_fffe, 0x7f_ffff, 0x80_0000, 0x80_0001] {
            check_near(f32::from_bits(fraction), -150);
        }
    }
}
