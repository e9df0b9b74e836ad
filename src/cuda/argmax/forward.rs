//! The column of the largest value of each row: greedy sampling on the device.
#![forbid(unsafe_code)]

use crate::arrays::{Element, Error, Result, Rows, Storage};
use crate::cuda::args::{ArgmaxArgs, MOST_X, extent, size, type_number};
use crate::cuda::builder::Cuda;
use crate::cuda::driver::interface::Launch;
use crate::cuda::memory::view::{View, ViewMut};
use crate::cuda::workspace::scratch::Workspace;

const OP: &str = "argmax";

impl Cuda {
    /// The first column of the largest value of each row, or [`u32::MAX`] if the row has a NaN or +infinity, which a
    /// sampler refuses: `output[i] = argmax over j of input[i, j]`. The input is `[rows, columns]`, the output `[rows]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if `output` does not have as many elements as `input` has rows, if `input` has no columns or
    /// 2^32 of them or more, or if memory is of another backend. Nothing has been written then.
    pub fn argmax<T: Element>(
        &self,
        input: Rows<View<'_, T>>,
        output: ViewMut<'_, u32>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let (rows, columns, device) = (input.rows(), input.cols(), &self.device);
        if output.elements() != rows {
            let expected = format!("the {rows} rows of the input");
            return Err(Error::argument(OP, "output", expected, output.elements()));
        }
        if columns == 0 || u32::try_from(columns).is_err() {
            return Err(Error::argument(OP, "input", "from 1 to 2^32 - 1 columns", columns));
        }
        let args = ArgmaxArgs {
            input: device.rows(OP, "input", &input)?,
            output: device.address(OP, "output", &output)?,
            stride: size(input.stride()),
            columns: size(columns),
            type_: type_number(OP, "input", T::DTYPE)?,
            reserved: 0,
        };
        if rows == 0 {
            return Ok(());
        }
        let launch = Launch {
            kernel: "mk_argmax",
            grid: [extent(OP, "input", rows, MOST_X)?, 1, 1],
            block: [256, 1, 1],
            shared_bytes: 0,
            args: bytemuck::bytes_of(&args),
        };
        workspace.launch(device, OP, &launch)
    }
}
