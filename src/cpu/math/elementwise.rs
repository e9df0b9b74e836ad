//! The elementary functions of the exact mode, over slices.

use super::elementary;
use crate::arrays::FloatMode;
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{Simd, load, store};

/// An elementary function of the exact mode.
///
/// `examples/ulp.rs` measures the errors over all 2^32 inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elementary {
    /// `e^x`
    Exp,
    /// `2^x`, or 2^-126 for less, the decay of the scan: faster than [`Elementary::Exp`], with a larger error
    Exp2,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-x)`
    Silu,
    /// `ln(1 + e^x)`
    Softplus,
}

impl Elementary {
    /// All of them.
    pub const ALL: [Elementary; 5] = [Self::Exp, Self::Exp2, Self::Sigmoid, Self::Silu, Self::Softplus];

    /// The name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Exp2 => "exp2",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::Softplus => "softplus",
        }
    }

    /// The largest error, in units in the last place of the correctly rounded result, wherever that result is at
    /// least [`Elementary::smallest`] in magnitude. Below, the error is at most that magnitude: no function makes a
    /// subnormal number, on which some CPUs take a hundred times as long, of an ordinary one.
    pub const fn max_ulp(self) -> f64 {
        match self {
            Self::Exp => 1.0,
            Self::Exp2 => 2.0,
            Self::Sigmoid => 2.5,
            Self::Silu => 3.25,
            Self::Softplus => 3.0,
        }
    }

    /// The smallest magnitude of a result for which [`Elementary::max_ulp`] holds: 2^-126, the smallest normal number,
    /// except for SiLU, whose sigmoid factor is 0 for results near the end of the range.
    pub const fn smallest(self) -> f64 {
        match self {
            Self::Silu => f32::MIN_POSITIVE as f64 * 128.0,
            _ => f32::MIN_POSITIVE as f64,
        }
    }
}

impl Cpu {
    /// Replaces each value by the function's, on the calling thread.
    pub fn elementary(&self, function: Elementary, values: &mut [f32]) {
        let _mode = FloatMode::standard();
        let job = Map { function, values: values.as_mut_ptr(), len: values.len() };
        // SAFETY: the job's values are the slice's (1).
        unsafe { map(self.isa)(&job) }
    }
}

/// Vectors at once.
const VECTORS: usize = 4;

/// A function over some values, in place.
struct Map {
    function: Elementary,
    values: *mut f32,
    len: usize,
}

kernel! {
    /// Replaces each value of a job by the function's.
    fn map(Map) = map_body;
}

/// # Safety
/// 1. The job's `len` values may be read and written.
/// 2. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn map_body<S: Simd>(job: &Map) {
    // SAFETY: conditions 1 and 2.
    unsafe {
        match job.function {
            Elementary::Exp => map_function::<S, Exp>(job),
            Elementary::Exp2 => map_function::<S, Exp2>(job),
            Elementary::Sigmoid => map_function::<S, Sigmoid>(job),
            Elementary::Silu => map_function::<S, Silu>(job),
            Elementary::Softplus => map_function::<S, Softplus>(job),
        }
    }
}

/// A function over vectors, as a type.
trait Function {
    /// # Safety
    /// 1. The CPU has the target features of `S`.
    unsafe fn apply<S: Simd, const K: usize>(x: [S::F; K]) -> [S::F; K];
}

macro_rules! functions {
    ($($Type:ident => $function:ident),*) => {$(
        struct $Type;
        impl Function for $Type {
            #[inline(always)]
            unsafe fn apply<S: Simd, const K: usize>(x: [S::F; K]) -> [S::F; K] {
                // SAFETY: condition 1.
                unsafe { elementary::$function::<S, K>(x) }
            }
        }
    )*};
}
functions!(Exp => exp, Exp2 => exp2, Sigmoid => sigmoid, Silu => silu, Softplus => softplus);

/// # Safety
/// As for [`map_body`].
#[inline(always)]
unsafe fn map_function<S: Simd, G: Function>(job: &Map) {
    // SAFETY: every access is to one of the `len` values (1); condition 2.
    unsafe {
        let mut i = 0;
        while job.len - i >= VECTORS * S::LANES {
            let mut x = [S::splat(0.0); VECTORS];
            for j in 0..VECTORS {
                x[j] = S::load(job.values.add(i + j * S::LANES));
            }
            x = G::apply::<S, VECTORS>(x);
            for j in 0..VECTORS {
                S::store(job.values.add(i + j * S::LANES), x[j]);
            }
            i += VECTORS * S::LANES;
        }
        for i in (i..job.len).step_by(S::LANES) {
            let count = S::LANES.min(job.len - i);
            let [x] = G::apply::<S, 1>([load::<S, f32>(job.values.add(i), count)]);
            store::<S, f32>(job.values.add(i), x, count);
        }
    }
}
