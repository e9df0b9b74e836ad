//! Arrays on the host, how they lie in a backend's buffer, and comparison by bits.

use mamba_kernels::with_element_type;
use mamba_kernels::{Backend, DType, Element, Rows, Storage, WeightFormat, bf16, f16};
use proptest::test_runner::TestCaseError;
use std::cell::RefCell;

/// The result of one check of one case.
pub type Check = Result<(), TestCaseError>;

/// `value` as the storage type holds it.
pub fn stored(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

/// Elements around a matrix: before row 0, between rows, and after the last row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub before: usize,
    pub gap: usize,
    pub after: usize,
}

impl Layout {
    pub const DENSE: Layout = Layout { before: 0, gap: 0, after: 0 };
    /// Of vectors, unless a case says otherwise: never at the start of an allocation, so that no kernel may count on
    /// alignment.
    const VECTOR: Layout = Layout { before: 3, gap: 0, after: 5 };
}

/// A matrix `[rows, cols]` on the host. The values are widened; each is one that `dtype` can hold.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub dtype: DType,
    pub layout: Layout,
    pub values: Vec<f32>,
}

impl Matrix {
    pub fn vector(values: Vec<f32>) -> Self {
        Self { rows: 1, cols: values.len(), dtype: DType::F32, layout: Layout::VECTOR, values }
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.cols..][..self.cols]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.values[i * self.cols..][..self.cols]
    }

    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.row(row)[col]
    }

    /// Some rows, in this order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Self { rows: rows.len(), values, ..self.clone() }
    }

    /// The same values without gaps.
    pub fn dense(&self) -> Self {
        Self { layout: Layout::DENSE, ..self.clone() }
    }

    /// One more row or column, of zeros: for what an op must refuse.
    pub fn grown(&self, more_rows: usize, more_cols: usize) -> Self {
        let mut out = Self { rows: self.rows + more_rows, cols: self.cols + more_cols, ..self.clone() };
        out.values = vec![0.0; out.rows * out.cols];
        out
    }
}

/// A backend with the workspace that all calls of a test share.
pub struct Device<B: Backend> {
    pub backend: B,
    pub workspace: RefCell<B::Workspace>,
    /// The format of the weights that it packs, if it is not that of the stored type.
    pub format: Option<WeightFormat>,
}

impl<B: Backend> Device<B> {
    pub fn new(backend: B) -> Self {
        Self { backend, workspace: RefCell::default(), format: None }
    }

    /// The same with weights in a format of their own.
    pub fn with_format(self, format: WeightFormat) -> Self {
        Self { format: Some(format), ..self }
    }
}

/// What surrounds an array that is written.
const GUARD: f32 = -77.0;

/// A matrix in a buffer of a backend, with guard values all around.
pub struct Placed<'d, B: Backend, T: Element> {
    device: &'d Device<B>,
    buffer: B::Buffer<T>,
    len: usize,
    matrix: Matrix,
    guard: f32,
}

impl<'d, B: Backend, T: Element> Placed<'d, B, T> {
    /// For reading: what is around it is NaN, which nothing may use.
    pub fn input(device: &'d Device<B>, matrix: &Matrix) -> Self {
        Self::new(device, matrix, f32::NAN)
    }

    /// For writing: [`Placed::read`] checks that what is around it has not changed.
    pub fn output(device: &'d Device<B>, matrix: &Matrix) -> Self {
        Self::new(device, matrix, GUARD)
    }

    fn new(device: &'d Device<B>, matrix: &Matrix, guard: f32) -> Self {
        assert_eq!(matrix.dtype, T::DTYPE);
        let Layout { before, gap, after } = matrix.layout;
        let len = before + matrix.rows * (matrix.cols + gap) + after;
        let mut host = vec![T::from_f32(guard); len];
        for i in 0..matrix.rows {
            let row = &mut host[before + i * (matrix.cols + gap)..];
            row.iter_mut().zip(matrix.row(i)).for_each(|(target, &value)| *target = T::from_f32(value));
        }
        let buffer = device.backend.upload(&host).unwrap();
        Self { device, buffer, len, matrix: matrix.clone(), guard }
    }

    pub fn rows(&self) -> Rows<B::View<'_, T>> {
        let Matrix { rows, cols, layout, .. } = self.matrix;
        Rows::strided(self.device.backend.view(&self.buffer), layout.before, rows, cols, cols + layout.gap)
            .unwrap()
    }

    pub fn rows_mut(&mut self) -> Rows<B::ViewMut<'_, T>> {
        let Matrix { rows, cols, layout, .. } = self.matrix;
        let view = self.device.backend.view_mut(&mut self.buffer);
        Rows::strided(view, layout.before, rows, cols, cols + layout.gap).unwrap()
    }

    /// All values of a matrix without gaps.
    pub fn view(&self) -> B::View<'_, T> {
        let range = self.range();
        self.device.backend.view(&self.buffer).slice(range).unwrap()
    }

    pub fn view_mut(&mut self) -> B::ViewMut<'_, T> {
        let range = self.range();
        self.device.backend.view_mut(&mut self.buffer).slice(range).unwrap()
    }

    fn range(&self) -> std::ops::Range<usize> {
        let Matrix { rows, cols, layout, .. } = self.matrix;
        assert_eq!(layout.gap, 0);
        layout.before..layout.before + rows * cols
    }

    /// What the buffer holds now, once the guard values are checked.
    pub fn read(&self) -> Matrix {
        let mut host = vec![T::from_f32(0.0); self.len];
        self.device.backend.read(self.device.backend.view(&self.buffer), &mut host).unwrap();
        let Layout { before, gap, after } = self.matrix.layout;
        let mut matrix = self.matrix.clone();
        let expect_guard = |margin: &[T], what: &str| {
            let changed = margin.iter().position(|value| value.to_f32() != self.guard);
            assert!(changed.is_none(), "element {changed:?} {what} was written");
        };
        expect_guard(&host[..before], "before the array");
        expect_guard(&host[self.len - after..], "after the array");
        for i in 0..matrix.rows {
            let row = &host[before + i * (matrix.cols + gap)..][..matrix.cols + gap];
            matrix.row_mut(i).iter_mut().zip(row).for_each(|(target, value)| *target = value.to_f32());
            expect_guard(&row[matrix.cols..], "between the rows");
        }
        matrix
    }
}

/// Packs a weight matrix, whatever its storage type, in a format or in that of its type.
pub fn pack<B: Backend>(backend: &B, weight: &Matrix, format: Option<WeightFormat>) -> B::Weights {
    with_element_type!(weight.dtype, W => {
        // the backend reads weights from the host's memory: the gaps are NaN here too
        let reference = Device::new(mamba_kernels::Reference);
        let weight = Placed::<_, W>::input(&reference, weight);
        match format {
            Some(format) => backend.pack_as::<W>(weight.rows(), format).unwrap(),
            None => backend.pack::<W>(weight.rows()).unwrap(),
        }
    }, else => unreachable!("no type of activations"))
}

/// All that an op wrote, or may have written.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `[tokens, ..]` each, with the names of the arguments.
    pub outputs: Vec<(&'static str, Matrix)>,
    /// `[slots, ..]`
    pub state: Option<Matrix>,
}

impl Outcome {
    /// Outputs and state, each with its name.
    pub fn arrays(&self) -> impl Iterator<Item = (&'static str, &Matrix)> {
        let state = self.state.iter().map(|state| ("state", state));
        self.outputs.iter().map(|(name, matrix)| (*name, matrix)).chain(state)
    }

    /// Both outcomes are the same, bit for bit.
    pub fn same_bits(&self, other: &Outcome, what: &str) -> Check {
        for ((name, a), (_, b)) in self.arrays().zip(other.arrays()) {
            same_bits(&a.values, &b.values, a.cols, &format!("{what}: {name}"))?;
        }
        Ok(())
    }
}

/// Both arrays hold the same bits; all NaNs count as the same.
pub fn same_bits(a: &[f32], b: &[f32], cols: usize, what: &str) -> Check {
    if a.len() != b.len() {
        return Err(TestCaseError::fail(format!("{what}: {} and {} elements", a.len(), b.len())));
    }
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    match a.iter().zip(b).position(|(&a, &b)| !same(a, b)) {
        None => Ok(()),
        Some(i) => {
            let (row, col) = (i / cols.max(1), i % cols.max(1));
            let (a, b) = (a[i], b[i]);
            let bits = format!("{:#010x} and {:#010x}", a.to_bits(), b.to_bits());
            Err(TestCaseError::fail(format!("{what}[{row}, {col}]: {a:e} and {b:e}, bits {bits}")))
        }
    }
}
