//! A test of the elementary functions on vectors that watch for subnormal numbers.
//!
//! On some CPUs an operation on a subnormal number, or one that makes it, takes a hundred times as long. No function may
//! do that on the way from an ordinary number to an ordinary result.

use super::elementary;
use crate::cpu::simd::{Portable, Simd};
use std::cell::Cell;

thread_local! {
    /// The operation that has made a subnormal number.
    static SEEN: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// [`Portable`] that notes subnormal results.
#[derive(Debug, Clone, Copy)]
struct Watched;

type F = <Portable as Simd>::F;

fn watched(operation: &'static str, value: F) -> F {
    if value.iter().any(|value| value.is_subnormal()) {
        SEEN.set(Some(operation));
    }
    value
}

/// Methods as [`Portable`] has them; the results of those in the second list are watched.
macro_rules! delegate {
    ($(fn $plain:ident($($a:ident: $A:ty),*) -> $P:ty;)* watched $(fn $op:ident($($b:ident: $B:ty),*);)*) => {
        $(unsafe fn $plain($($a: $A),*) -> $P {
            // SAFETY: the conditions are the same.
            unsafe { Portable::$plain($($a),*) }
        })*
        $(unsafe fn $op($($b: $B),*) -> F {
            // SAFETY: the conditions are the same.
            watched(stringify!($op), unsafe { Portable::$op($($b),*) })
        })*
    };
}

impl Simd for Watched {
    const LANES: usize = Portable::LANES;
    const REGISTERS: usize = Portable::REGISTERS;
    type F = F;
    delegate! {
        fn splat(value: f32) -> F;
        fn load(source: *const f32) -> F;
        fn store(target: *mut f32, value: F) -> ();
        fn load_bf16(source: *const u16) -> F;
        fn store_bf16(target: *mut u16, value: F) -> ();
        fn load_f16(source: *const u16) -> F;
        fn store_f16(target: *mut u16, value: F) -> ();
        fn min(a: F, b: F) -> F;
        fn max(a: F, b: F) -> F;
        fn neg_abs(a: F) -> F;
        fn select_less(x: F, y: F, a: F, b: F) -> F;
        fn any_above(x: F, y: F) -> bool;
        fn upper_bf16(pairs: F) -> F;
        fn lower_bf16(pairs: F) -> F;
        fn flush(x: F) -> F;
        fn any_subnormal(x: F) -> bool;
        watched
        fn add(a: F, b: F);
        fn sub(a: F, b: F);
        fn mul(a: F, b: F);
        fn div(a: F, b: F);
        fn fma(a: F, b: F, c: F);
        fn fnma(a: F, b: F, c: F);
        fn round(x: F);
        fn scale(p: F, n: F);
        fn scale_inside(p: F, n: F);
    }
}

/// Runs a function on all numbers of a strided set that `takes` names, and on the neighbours of powers of two.
fn never_subnormal(name: &str, takes: impl Fn(f32) -> bool, function: impl Fn(F) -> F) {
    let edges = (0..512u32).flat_map(|exponent| [0, 1, 0x7f_ffff].map(|fraction| exponent << 23 | fraction));
    for bits in (0..=u32::MAX).step_by(10007).chain(edges) {
        let x = f32::from_bits(bits);
        if takes(x) && !x.is_subnormal() {
            SEEN.set(None);
            let [y, ..] = function([x; 8]);
            assert_eq!(SEEN.get(), None, "{name}({x:e}) = {y:e}");
        }
    }
}

#[test]
fn elementary_functions_make_no_subnormal_number() {
    // SAFETY: the portable vectors need no target feature.
    unsafe {
        never_subnormal("exp", |_| true, |x| elementary::exp::<Watched, 1>([x])[0]);
        never_subnormal("exp2", |_| true, |x| elementary::exp2::<Watched, 1>([x])[0]);
        never_subnormal("softplus", |_| true, |x| elementary::softplus::<Watched, 1>([x])[0]);
        never_subnormal("sigmoid", |_| true, |x| elementary::sigmoid::<Watched, 1>([x])[0]);
        // half of the smallest normal numbers is subnormal
        let ordinary = |x: f32| x == 0.0 || x.is_nan() || x.abs() > 4.0 * f32::MIN_POSITIVE;
        never_subnormal("silu", ordinary, |x| elementary::silu::<Watched, 1>([x])[0]);
    }
}

/// The watch sees what it must.
#[test]
fn a_subnormal_number_is_seen() {
    // SAFETY: as above.
    unsafe {
        SEEN.set(None);
        Watched::mul([1e-20; 8], [1e-20; 8]);
        assert_eq!(SEEN.get(), Some("mul"));
    }
}
