//! [`Backend`]: one method per op, over memory that the backend defines.
#![forbid(unsafe_code)]

use crate::arrays::{Element, Error, Memory, Result, Rows, Scalar, WeightFormat};
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};

/// A way to execute the ops: the reference, the CPU, or a GPU.
///
/// Views are borrowed and no op makes arrays of its own: on the CPU a view is a slice of the caller's own memory.
/// Weights are packed once into the backend's own form. Each op takes its argument struct from [`ops`](crate::ops),
/// which states shapes and formula, and a workspace for scratch memory, which grows to what a call needs and may be
/// reused by any later call. An op checks its arguments first and returns an error that names op, argument, expected
/// and found; then nothing has been written.
///
/// A backend is `Send + Sync`: several models may use it at once, each with a workspace of its own.
///
/// ```
/// use mamba_kernels::ops::RmsNorm;
/// use mamba_kernels::{Backend, Cpu, Rows};
///
/// # fn main() -> mamba_kernels::Result<()> {
/// let cpu = Cpu::new();
/// let x = [3.0f32, 4.0];
/// let mut y = [0.0f32; 2];
/// let args = RmsNorm::<Cpu, f32, f32> {
///     input: Rows::new(&x[..], 1, 2)?,
///     residual: None,
///     weight: None,
///     eps: 0.0,
///     output: Rows::new(&mut y[..], 1, 2)?,
/// };
/// cpu.rms_norm(args, &mut Default::default())?;
/// assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub trait Backend: Memory {
    /// Scratch memory of the ops.
    type Workspace: Default + Send;

    /// The most tokens that a model sends through all layers at once, unless its caller says otherwise: as many as this
    /// backend needs to be busy, since activation memory grows with them. On an exact backend it changes no result.
    const SEGMENT_TOKENS: usize = 256;

    /// The name, as `--backend` and [`list`](crate::list) write it.
    fn name(&self) -> &'static str;

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn zeros<T: Scalar>(&self, len: usize) -> Result<Self::Buffer<T>>;

    /// A buffer with a copy of `host`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn upload<T: Scalar>(&self, host: &[T]) -> Result<Self::Buffer<T>>;

    /// Copies `host` over what `target` borrows.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if the lengths differ.
    fn write<T: Scalar>(&self, host: &[T], target: Self::ViewMut<'_, T>) -> Result<()>;

    /// Copies what `source` borrows to `host`, once all work on it is done.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if the lengths differ.
    fn read<T: Scalar>(&self, source: Self::View<'_, T>, host: &mut [T]) -> Result<()>;

    /// Borrows a buffer for reading.
    fn view<'a, T: Scalar>(&self, buffer: &'a Self::Buffer<T>) -> Self::View<'a, T>;

    /// Borrows a buffer for writing.
    fn view_mut<'a, T: Scalar>(&self, buffer: &'a mut Self::Buffer<T>) -> Self::ViewMut<'a, T>;

    /// Packs the weight matrix `[out_features, in_features]`, PyTorch's layout, keeping its storage type.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn pack<W: Element>(&self, weight: Rows<&[W]>) -> Result<Self::Weights> {
        match WeightFormat::of(W::DTYPE) {
            Some(format) => self.pack_as(weight, format),
            None => Err(Error::argument("pack", "weight", "a floating-point type", W::DTYPE)),
        }
    }

    /// Packs a weight matrix in a format of the caller's choice, rounding its numbers to that format. A weight that is
    /// subnormal as an f32 becomes zero, of the same sign: see
    /// [arithmetic.md](https://github.com/mamba-kernels/mamba-kernels/blob/main/docs/arithmetic.md).
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if this backend does not have the format,
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn pack_as<W: Element>(&self, weight: Rows<&[W]>, format: WeightFormat) -> Result<Self::Weights>;

    /// Runs `ops`, which calls this backend's ops with the workspace that it is given: work that is repeated over the same
    /// memory, such as a decode step. A backend may record it and replay it as a whole from then on.
    ///
    /// The host must neither read nor write the memory of the ops meanwhile, and must have checked the token ids, since an op
    /// cannot refuse them here. After an error, none, some or all of the ops may have run.
    ///
    /// # Errors
    /// Those of `ops`.
    fn step<E: From<Error>>(
        &self,
        workspace: &mut Self::Workspace,
        ops: impl FnOnce(&mut Self::Workspace) -> Result<(), E>,
    ) -> Result<(), E> {
        ops(workspace)
    }

    /// The branches of a block from one matrix product: see [`InProj`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`InProj::validate`] says.
    fn in_proj<T: Element, const N: usize>(
        &self,
        args: InProj<'_, Self, T, N>,
        workspace: &mut Self::Workspace,
    ) -> Result<()>;

    /// A matrix product with an epilogue: see [`Linear`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`Linear::validate`] says.
    fn linear<T: Element, U: Element>(
        &self,
        args: Linear<'_, Self, T, U>,
        workspace: &mut Self::Workspace,
    ) -> Result<()>;

    /// The depthwise causal convolution: see [`CausalConv1d`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`CausalConv1d::validate`] says.
    fn causal_conv1d<T: Element>(
        &self,
        args: CausalConv1d<'_, Self, T>,
        workspace: &mut Self::Workspace,
    ) -> Result<()>;

    /// The selective scan: see [`SelectiveScan`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`SelectiveScan::validate`] says.
    fn selective_scan<T: Element>(
        &self,
        args: SelectiveScan<'_, Self, T>,
        workspace: &mut Self::Workspace,
    ) -> Result<()>;

    /// RMSNorm with a fused residual add: see [`RmsNorm`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`RmsNorm::validate`] says.
    fn rms_norm<T: Element, U: Element>(
        &self,
        args: RmsNorm<'_, Self, T, U>,
        workspace: &mut Self::Workspace,
    ) -> Result<()>;

    /// Rows of a weight matrix by token id: see [`Embedding`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`Embedding::validate`] says, and where a token is not below
    /// the number of rows.
    fn embedding<U: Element>(
        &self,
        args: Embedding<'_, Self, U>,
        workspace: &mut Self::Workspace,
    ) -> Result<()>;
}
