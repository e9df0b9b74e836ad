//! Storage of flex's tensors as `Rows` and slices.

use burn_backend::{DType, TensorData};
use burn_flex::{Flex, FlexTensor};
use burn_tensor::{PrimitiveConversionError, Tensor};
use mamba_kernels::cpu::Workspace;
use mamba_kernels::{Batch, Error, Result, Rows};
use std::cell::RefCell;

/// A storage type that both crates know.
pub(crate) trait Number: mamba_kernels::Element + burn_backend::Element + bytemuck::Pod {}

impl Number for f32 {}
impl Number for mamba_kernels::f16 {}
impl Number for mamba_kernels::bf16 {}

/// Compiles a body for each storage type and runs that of an array.
macro_rules! by_dtype {
    ($array:expr, $t:ident => $body:expr) => {
        match $array.dtype() {
            burn_backend::DType::F32 => {
                type $t = f32;
                $body
            }
            burn_backend::DType::F16 => {
                type $t = mamba_kernels::f16;
                $body
            }
            burn_backend::DType::BF16 => {
                type $t = mamba_kernels::bf16;
                $body
            }
            _ => Err($array.error("f32, f16 or bf16")),
        }
    };
}
pub(crate) use by_dtype;

pub(crate) fn argument(
    op: &'static str,
    argument: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Error {
    Error::Argument { op, argument, expected: expected.into(), found: found.into() }
}

/// Runs an op with this thread's scratch memory.
pub(crate) fn with_workspace(op: impl FnOnce(&mut Workspace) -> Result<()>) -> Result<()> {
    thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
    WORKSPACE.with_borrow_mut(op)
}

/// What a dimension must be: a size, or anything, which has a name.
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
            argument(op, name, "a tensor on burn's backend flex, without autodiff", found)
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

    pub fn dtype(&self) -> DType {
        self.tensor.dtype()
    }

    pub fn dims(&self) -> Vec<usize> {
        self.tensor.layout().shape().as_slice().to_vec()
    }

    pub fn error(&self, expected: &str) -> Error {
        let layout = self.tensor.layout();
        let (dims, strides) = (self.dims(), layout.strides());
        argument(
            self.op,
            self.name,
            expected,
            format!("{:?}, {dims:?} with strides {strides:?}", self.dtype()),
        )
    }

    /// Checks the dimensions: an op sees no more than the number of elements of a contiguous array.
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
        Err(argument(self.op, self.name, expected, format!("{dims:?}")))
    }

    /// Checks that the dimensions are those of another array, but for the last where `last` names it.
    pub fn expect_like(&self, other: &Self, last: Option<&'static str>) -> Result<()> {
        let mut expected: Vec<Dim> = other.dims().into_iter().map(Dim::Of).collect();
        if let (Some(dim), Some(name)) = (expected.last_mut(), last) {
            *dim = Dim::Any(name);
        }
        self.expect(&expected)
    }

    fn storage<T: Number>(&self) -> Result<&[T]> {
        if self.dtype() != T::dtype() {
            return Err(self.error(&format!("{:?}", T::dtype())));
        }
        Ok(self.tensor.storage())
    }

    /// `[rows, cols]` or `[batch, rows, cols]` with contiguous, evenly spaced rows.
    pub fn rows<T: Number>(&self) -> Result<Rows<&[T]>> {
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
pub(crate) fn tensor<T: Number, const D: usize>(values: Vec<T>, dims: Vec<usize>) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::from_data(TensorData::new(values, dims)))
}

/// The caller's batch; without it, one sequence for `[tokens, channels]`, `batch` for `[batch, tokens, channels]`.
pub(crate) fn sequences(batch: Option<Batch>, dims: &[usize]) -> Result<Batch> {
    match (batch, dims) {
        (Some(batch), _) => Ok(batch),
        (None, &[batch, tokens, _]) => Batch::from_lengths(&vec![tokens; batch]),
        (None, dims) => Ok(Batch::single(dims.first().copied().unwrap_or(0))),
    }
}
