//! The elementary functions from their definitions, over any float type.

use num_traits::Float;

/// `1 / (1 + e^-x)`, without overflow for any `x`.
pub fn sigmoid<F: Float>(x: F) -> F {
    let e = (-x.abs()).exp();
    if x < F::zero() { e / (F::one() + e) } else { F::one() / (F::one() + e) }
}

/// `x · sigmoid(x)`; its limit 0 at negative infinity.
pub fn silu<F: Float>(x: F) -> F {
    if x == F::neg_infinity() { -F::zero() } else { x * sigmoid(x) }
}

/// `ln(1 + e^x)`, without overflow for any `x`.
pub fn softplus<F: Float>(x: F) -> F {
    if x.is_nan() {
        return x;
    }
    x.max(F::zero()) + (-x.abs()).exp().ln_1p()
}
