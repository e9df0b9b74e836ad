use crate::arrays::Element;
use crate::arrays::Result;
use crate::ops::{Epilogue, InProj, Linear};
use crate::reference::{Reference, math};

/// `Σ_k input[k] · weight[k] + bias`
fn dot<T: Element>(input: &[T], weight: &[f32], bias: Option<f32>) -> f64 {
    let mut sum = 0.0;
    for (x, &w) in input.iter().zip(weight) {
        sum += x.to_f64() * f64::from(w);
    }
    sum + f64::from(bias.unwrap_or(0.0))
}

pub(in crate::reference) fn in_proj<T: Element>(mut args: InProj<'_, Reference, T>) -> Result<()> {
    let shape = args.validate()?;
    for t in 0..shape.tokens {
        let input = args.input.row(t); // [d_model]
        for j in 0..2 * shape.d_inner {
            let sum = dot(input, args.weight.row(j), args.bias.map(|bias| bias[j]));
            match j.checked_sub(shape.d_inner) {
                None => args.x.row_mut(t)[j] = T::from_f64(sum),
                Some(j) => args.z.row_mut(t)[j] = T::from_f64(sum),
            }
        }
    }
    Ok(())
}

pub(in crate::reference) fn linear<T: Element, U: Element>(
    mut args: Linear<'_, Reference, T, U>,
) -> Result<()> {
    let shape = args.validate()?;
    for t in 0..shape.tokens {
        let input = args.input.row(t); // [in_features]
        for (j, output) in args.output.row_mut(t).iter_mut().enumerate() {
            let sum = dot(input, args.weight.row(j), args.bias.map(|bias| bias[j]));
            *output = U::from_f64(match args.epilogue {
                Epilogue::Store => sum,
                Epilogue::Softplus => math::softplus(sum),
                Epilogue::Residual => sum + output.to_f64(),
            });
        }
    }
    Ok(())
}
