//! What a workspace and a step make of a caller that does the unusual.

use crate::support::backends;
use mamba_kernels::ops::RmsNorm;
use mamba_kernels::{Backend, Cuda, Error, Result, Rows, cuda};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The norm of `input` to `output`, two numbers.
fn norm(
    cuda: &Cuda,
    input: &cuda::Buffer<f32>,
    output: &mut cuda::Buffer<f32>,
    workspace: &mut cuda::Workspace,
) -> Result<()> {
    let args = RmsNorm::<Cuda, f32, f32> {
        input: Rows::new(cuda.view(input), 1, 2)?,
        residual: None,
        weight: None,
        eps: 0.0,
        output: Rows::new(cuda.view_mut(output), 1, 2)?,
    };
    cuda.rms_norm(args, workspace)
}

fn values(cuda: &Cuda, buffer: &cuda::Buffer<f32>) -> [f32; 2] {
    let mut host = [0.0; 2];
    cuda.read(cuda.view(buffer), &mut host).unwrap();
    host
}

/// Memory that an op of a step uses may be given up before the step is run.
#[test]
fn a_step_keeps_the_memory_of_its_ops() {
    for cuda in backends(|builder| builder) {
        let mut workspace = Default::default();
        let mut output = cuda.zeros::<f32>(2).unwrap();
        let step = |workspace: &mut cuda::Workspace| {
            let input = cuda.upload(&[2.0f32, -2.0])?;
            let mut between = cuda.zeros::<f32>(2)?;
            norm(&cuda, &input, &mut between, workspace)?;
            drop(input);
            let other = cuda.upload(&[1.0f32, 7.0])?; // may lie where the input did
            norm(&cuda, &between, &mut output, workspace)?;
            drop(other);
            Ok(())
        };
        cuda.step::<Error>(&mut workspace, step).unwrap();
        assert_eq!(values(&cuda, &output), [1.0, -1.0]);
    }
}

/// The launches of a step are all of one device.
#[test]
fn a_step_refuses_the_ops_of_another_device() {
    for (ours, theirs) in backends(|builder| builder).into_iter().zip(backends(|builder| builder)) {
        let mut workspace = Default::default();
        let input = theirs.upload(&[2.0f32, -2.0]).unwrap();
        let mut output = theirs.zeros::<f32>(2).unwrap();
        let result =
            ours.step::<Error>(&mut workspace, |workspace| norm(&theirs, &input, &mut output, workspace));
        match result {
            Err(Error::Argument { op: "rms_norm", argument: "workspace", .. }) => {}
            other => panic!("{other:?}"),
        }
        norm(&theirs, &input, &mut output, &mut workspace).unwrap();
        assert_eq!(values(&theirs, &output), [1.0, -1.0]);
    }
}

/// A workspace whose step has panicked runs ops at once again.
#[test]
fn a_panic_ends_a_step() {
    for cuda in backends(|builder| builder) {
        let mut workspace = Default::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            cuda.step::<Error>(&mut workspace, |_| panic!("the caller's own"))
        }));
        assert!(panicked.is_err());
        let input = cuda.upload(&[2.0f32, -2.0]).unwrap();
        let mut output = cuda.zeros::<f32>(2).unwrap();
        norm(&cuda, &input, &mut output, &mut workspace).unwrap();
        assert_eq!(values(&cuda, &output), [1.0, -1.0]);
    }
}
