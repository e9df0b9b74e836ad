//! [`Reference`], and its weights.

use crate::arrays::{
    DType, Element, Error, Memory, Result, Rows, Scalar, WeightFormat, WeightMatrix, checked_product, host,
    packed,
};
use half::{bf16, f16};

/// The reference, as a backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Memory for Reference {
    type View<'a, T: Scalar> = &'a [T];
    type ViewMut<'a, T: Scalar> = &'a mut [T];
    type Buffer<T: Scalar> = Vec<T>;
    type Weights = Weights;
}

/// A weight matrix of the reference: row-major, rounded to its format as every backend does, then widened exactly.
#[derive(Debug, Clone)]
pub struct Weights {
    values: Vec<f32>,
    rows: usize,
    cols: usize,
    format: WeightFormat,
}

impl Weights {
    pub(super) fn new<W: Element>(weight: Rows<&[W]>, format: WeightFormat) -> Result<Self> {
        let round: fn(W) -> f32 = match format.dtype() {
            Some(DType::F32) => packed::<W, f32>,
            Some(DType::F16) => |weight| Element::to_f32(packed::<W, f16>(weight)),
            Some(DType::BF16) => |weight| Element::to_f32(packed::<W, bf16>(weight)),
            _ => return Err(Error::argument("pack", "format", "f32, f16 or bf16", format)),
        };
        let (rows, cols) = (weight.rows(), weight.cols());
        let mut values = host::zeros("pack", checked_product("pack", "weight", &[rows, cols])?)?;
        let filled = if cols == 0 { 0 } else { rows };
        for i in 0..filled {
            for (value, &stored) in values[i * cols..].iter_mut().zip(weight.row(i)) {
                *value = round(stored);
            }
        }
        Ok(Weights { values, rows, cols, format })
    }

    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.cols..][..self.cols]
    }
}

impl WeightMatrix for Weights {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn format(&self) -> WeightFormat {
        self.format
    }
}
