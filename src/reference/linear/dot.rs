//! The dot product of both matrix products.

use crate::arrays::Element;

/// `Σ_k input[k] · weight[k] + bias`
pub(super) fn dot<T: Element>(input: &[T], weight: &[f32], bias: Option<f32>) -> f64 {
    let mut sum = 0.0;
    for (x, &w) in input.iter().zip(weight) {
        sum += x.to_f64() * f64::from(w);
    }
    sum + f64::from(bias.unwrap_or(0.0))
}
