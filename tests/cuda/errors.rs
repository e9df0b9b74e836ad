//! Typed errors when a GPU is missing or an argument is of another device.

use crate::support::backends;
use mamba_kernels::ops::{Embedding, RmsNorm};
use mamba_kernels::{Backend, Cuda, Error, Rows, Storage, WeightMatrix};

/// With a driver and a device there is a backend, and without one an error that says what is missing.
#[test]
fn a_device_or_the_reason_why_not() {
    let listed = mamba_kernels::list().into_iter().find(|backend| backend.name == "cuda").unwrap();
    match (Cuda::new(), listed.status) {
        (Ok(cuda), Ok(description)) => assert!(cuda.description().starts_with(&description)),
        (Err(Error::Unavailable { backend, reason }), Err(listed)) => {
            assert_eq!((backend.as_str(), &reason), ("cuda", &listed));
            assert!(!reason.is_empty());
        }
        (made, listed) => panic!("{made:?}, but it is listed as {listed:?}"),
    }
    assert!(matches!(Cuda::builder().device(4096).build(), Err(Error::Unavailable { .. })));
}

fn argument<T>(result: mamba_kernels::Result<T>) -> &'static str {
    match result {
        Err(Error::Argument { argument, .. }) => argument,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

/// An address of one device is never given to another.
#[test]
fn memory_of_another_device_is_refused() {
    for (ours, theirs) in backends(|builder| builder).into_iter().zip(backends(|builder| builder)) {
        let own = ours.upload(&[1.0f32; 8]).unwrap();
        let foreign = theirs.upload(&[2.0f32; 8]).unwrap();
        let mut output = ours.zeros::<f32>(8).unwrap();
        let mut norm = |input, weight| {
            let args = RmsNorm::<Cuda, f32, f32> {
                input: Rows::new(input, 1, 8).unwrap(),
                residual: None,
                weight: Some(weight),
                eps: 1e-5,
                output: Rows::new(ours.view_mut(&mut output), 1, 8).unwrap(),
            };
            ours.rms_norm(args, &mut Default::default())
        };
        assert_eq!(argument(norm(ours.view(&foreign), ours.view(&own))), "input");
        assert_eq!(argument(norm(ours.view(&own), ours.view(&foreign))), "weight");
        norm(ours.view(&own), ours.view(&own)).unwrap();

        let mut host = [0.0f32; 8];
        assert_eq!(argument(ours.read(ours.view(&foreign), &mut host)), "source");
        let mut foreign = foreign;
        assert_eq!(argument(ours.write(&host, ours.view_mut(&mut foreign))), "target");

        let tokens = ours.upload(&[0u32]).unwrap();
        let weight = theirs.pack(Rows::new(&[1.0f32; 8][..], 1, 8).unwrap()).unwrap();
        let args = Embedding::<Cuda, f32> {
            tokens: ours.view(&tokens),
            weight: &weight,
            output: Rows::new(ours.view_mut(&mut output), 1, 8).unwrap(),
        };
        assert_eq!(argument(ours.embedding(args, &mut Default::default())), "weight");
    }
}

/// A workspace goes from one device to another, as a user may pass it.
#[test]
fn a_workspace_fits_itself_to_any_device() {
    let mut workspace = Default::default();
    for cuda in [backends(|builder| builder), backends(|builder| builder)].concat() {
        let input = cuda.upload(&[3.0f32, 4.0]).unwrap();
        let mut output = cuda.zeros::<f32>(2).unwrap();
        let args = RmsNorm::<Cuda, f32, f32> {
            input: Rows::new(cuda.view(&input), 1, 2).unwrap(),
            residual: None,
            weight: None,
            eps: 0.0,
            output: Rows::new(cuda.view_mut(&mut output), 1, 2).unwrap(),
        };
        cuda.rms_norm(args, &mut workspace).unwrap();
        let mut host = [0.0; 2];
        cuda.read(cuda.view(&output), &mut host).unwrap();
        assert!((host[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6);
    }
}

/// More memory than there is, and sizes that no memory has.
#[test]
fn out_of_memory_is_an_error() {
    for cuda in backends(|builder| builder) {
        for len in [usize::MAX, usize::MAX / 8, 1 << 50] {
            match cuda.zeros::<f32>(len) {
                Err(Error::OutOfMemory { op: "zeros", elements, dtype: "f32" }) => assert_eq!(elements, len),
                other => panic!("{:?}", other.map(|buffer| cuda.view(&buffer).elements())),
            }
        }
        assert!(cuda.zeros::<f32>(0).is_ok());
    }
}

/// A matrix of no elements has any number of rows or columns.
#[test]
fn an_empty_matrix_of_any_size_is_packed_or_refused() {
    for cuda in backends(|builder| builder) {
        for (rows, cols) in [(0, 0), (0, usize::MAX), (0, usize::MAX / 4), (usize::MAX, 0), (3, 0)] {
            let weight = Rows::new(&[0.0f32; 0][..], rows, cols).unwrap();
            match cuda.pack(weight) {
                Ok(packed) => assert_eq!((packed.rows(), packed.cols()), (rows, cols)),
                Err(error) => assert!(matches!(error, Error::Argument { .. }), "{error}"),
            }
        }
    }
}
