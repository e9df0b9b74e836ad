//! The storage of flex's tensors as `Rows` and slices.

use burn_backend::TensorData;
use burn_flex::{Flex, FlexTensor};
use burn_tensor::{PrimitiveConversionError, Tensor};
use mamba_kernels::cpu::Workspace;
use mamba_kernels::{Batch, DType, Error, Result, Rows};
use std::cell::RefCell;

/// An element type of both crates.
pub(crate) trait TensorElement:
    mamba_kernels::Element + burn_backend::Element + bytemuck::Pod
{
}

impl TensorElement for f32 {}
impl TensorElement for mamba_kernels::f16 {}
impl TensorElement for mamba_kernels::bf16 {}

/// Runs a body with `$T` standing for the element type of an [`Array`].
macro_rules! with_array_type {
    ($array:expr, $T:ident => $body:expr) => {
        mamba_kernels::with_element_type!($array.element_type()?, $T => $body, else => Err($array.unsupported()))
    };
}
pub(crate) use with_array_type;

/// Runs an op with this thread's scratch memory.
pub(crate) fn with_workspace(op: impl FnOnce(&mut Workspace) -> Result<()>) -> Result<()> {
    thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
    WORKSPACE.with_borrow_mut(op)
}

/// What a dimension must be: a size, or any size, with the name of the dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    Of(usize),
    Any(&'static str),
}

/// A tensor in flex's form.
pub(crate) struct Array {
    op: &'static str,
    name: &'static str,
    tensor: FlexTensor,
}

impl Array {
    pub fn new<const D: usize>(op: &'static str, name: &'static str, tensor: Tensor<D>) -> Result<Self> {
        let tensor = tensor.try_into_primitive::<Flex>().map_err(|error| {
            let (PrimitiveConversionError::BackendMismatch(found)
            | PrimitiveConversionError::KindMismatch(found)) = error;
            Error::argument(op, name, "a tensor on burn's backend flex, without autodiff", found)
        })?;
        Ok(Self { op, name, tensor })
    }

    pub fn optional<const D: usize>(
        op: &'static str,
        name: &'static str,
        tensor: Option<Tensor<D>>,
    ) -> Result<Option<Self>> {
        tensor.map(|tensor| Self::new(op, name, tensor)).transpose()
    }

    /// The type of the elements, if an op takes it.
    pub fn element_type(&self) -> Result<DType> {
        match self.tensor.dtype() {
            burn_backend::DType::F32 => Ok(DType::F32),
            burn_backend::DType::F16 => Ok(DType::F16),
            burn_backend::DType::BF16 => Ok(DType::BF16),
            _ => Err(self.unsupported()),
        }
    }

    pub fn unsupported(&self) -> Error {
        self.error("f32, f16 or bf16")
    }

    pub fn dims(&self) -> Vec<usize> {
        self.tensor.layout().shape().as_slice().to_vec()
    }

    fn error(&self, expected: &str) -> Error {
        let (layout, dtype) = (self.tensor.layout(), self.tensor.dtype());
        let (dims, strides) = (self.dims(), layout.strides());
        let found = format!("{dtype:?}, {dims:?} with strides {strides:?}");
        Error::argument(self.op, self.name, expected, found)
    }

    /// Checks the dimensions: an op sees only the number of elements of a contiguous array, which a transposed one has too.
    pub fn expect(&self, expected: &[Dim]) -> Result<()> {
        let dims = self.dims();
        let fits =
            |(&dim, &expected): (&usize, &Dim)| matches!(expected, Dim::Any(_)) || expected == Dim::Of(dim);
        if dims.len() == expected.len() && dims.iter().zip(expected).all(fits) {
            return Ok(());
        }
        let names = expected.iter().map(|dim| match dim {
            Dim::Of(size) => size.to_string(),
            Dim::Any(name) => name.to_string(),
        });
        let expected = format!("[{}]", names.collect::<Vec<_>>().join(", "));
        Err(Error::argument(self.op, self.name, expected, format!("{dims:?}")))
    }

    /// Checks that the dimensions are those of another array, except the last if `last` names it.
    pub fn expect_like(&self, other: &Self, last: Option<&'static str>) -> Result<()> {
        let mut expected: Vec<Dim> = other.dims().into_iter().map(Dim::Of).collect();
        if let (Some(dim), Some(name)) = (expected.last_mut(), last) {
            *dim = Dim::Any(name);
        }
        self.expect(&expected)
    }

    fn storage<T: TensorElement>(&self) -> Result<&[T]> {
        if self.tensor.dtype() != T::dtype() {
            return Err(self.error(&format!("{:?}", T::dtype())));
        }
        Ok(self.tensor.storage())
    }

    /// `[rows, cols]` or `[batch, rows, cols]` with contiguous, evenly spaced rows.
    pub fn rows<T: TensorElement>(&self) -> Result<Rows<&[T]>> {
        let data = self.storage::<T>()?;
        let layout = self.tensor.layout();
        let (rows, cols, stride, even) = match (self.dims()[..].as_ref(), layout.strides()) {
            (&[rows, cols], &[stride, last]) => (rows, cols, stride, last == 1 || cols <= 1),
            (&[batch, rows, cols], &[outer, inner, last]) => {
                let even = batch <= 1 || rows <= 1 || outer == rows as isize * inner;
                (batch * rows, cols, if rows <= 1 { outer } else { inner }, even && (last == 1 || cols <= 1))
            }
            _ => return Err(self.error("two or three dimensions")),
        };
        let stride = if rows <= 1 { Ok(cols) } else { usize::try_from(stride) };
        match stride {
            Ok(stride) if even && stride >= cols => {
                Rows::strided(data, layout.start_offset(), rows, cols, stride)
            }
            _ => Err(self.error("contiguous rows, evenly spaced")),
        }
    }

    /// All elements of a contiguous array of f32.
    pub fn values(&self) -> Result<&[f32]> {
        self.storage::<f32>()?;
        self.tensor.as_slice().ok_or_else(|| self.error("a contiguous tensor"))
    }

    /// All elements, to be written. Storage that another tensor shares is copied first, as burn's own ops do.
    pub fn values_mut(&mut self) -> Result<&mut [f32]> {
        self.values()?;
        let start = self.tensor.layout().start_offset();
        let len = self.tensor.layout().num_elements();
        Ok(&mut self.tensor.storage_mut()[start..start + len])
    }

    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.tensor)
    }
}

/// A tensor of these values.
pub(crate) fn tensor<T: TensorElement, const D: usize>(values: Vec<T>, dims: Vec<usize>) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::from_data(TensorData::new(values, dims)))
}

/// The caller's batch. Without one: a single sequence for `[tokens, channels]`, `batch` sequences for
/// `[batch, tokens, channels]`.
pub(crate) fn sequences(batch: Option<Batch>, dims: &[usize]) -> Result<Batch> {
    match (batch, dims) {
        (Some(batch), _) => Ok(batch),
        (None, &[batch, tokens, _]) => Batch::from_lengths(&vec![tokens; batch]),
        (None, dims) => Ok(Batch::single(dims.first().copied().unwrap_or(0))),
    }
}
