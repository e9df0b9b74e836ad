//! The executor reports each fault of a kernel, and none in a right one.
//!
//! The kernels are in `cuda/executor/test_kernels`. Each check has one that is wrong on purpose and a right
//! one.

mod async_copies;
mod barriers;
mod bounds;
mod counters;
mod host_calls;
mod matrices;
mod races;
mod shuffles;
mod unwritten;

use super::device::{Check, Executor, LaunchCounters};
use super::host::Totals;
use crate::arrays::{Error, Result};
use crate::cuda::driver::interface::{Driver, Launch};
use bytemuck::{Pod, Zeroable};

/// `TestArgs` of the test kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct TestArgs {
    input: u64,
    output: u64,
    count: u64,
}

/// The grid, the block and the dynamic shared memory of a launch.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    grid: u32,
    block: u32,
    shared_bytes: u32,
}

/// One block of this many threads.
fn block(threads: u32) -> Geometry {
    Geometry { grid: 1, block: threads, shared_bytes: 0 }
}

/// Runs a test kernel on `input` and gives back its `outputs` outputs, of which it writes each.
fn run(
    check: Check,
    kernel: &'static str,
    geometry: Geometry,
    input: &[f32],
    outputs: usize,
) -> Result<Vec<f32>> {
    let executor = Executor::new(check)?;
    let output = launch(&executor, kernel, geometry, input, outputs)?;
    let mut host = vec![0.0; outputs];
    executor.download(output, bytemuck::cast_slice_mut(&mut host))?;
    Ok(host)
}

/// Runs a test kernel, and gives back the address of its output.
fn launch(
    executor: &Executor,
    kernel: &'static str,
    geometry: Geometry,
    input: &[f32],
    outputs: usize,
) -> Result<u64> {
    let Geometry { grid, block, shared_bytes } = geometry;
    let args = TestArgs {
        input: executor.alloc(size_of_val(input))?,
        output: executor.alloc(outputs * size_of::<f32>())?,
        count: input.len() as u64,
    };
    executor.upload(bytemuck::cast_slice(input), args.input)?;
    let args_bytes = bytemuck::bytes_of(&args);
    executor.launch(&Launch {
        kernel,
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        shared_bytes,
        args: args_bytes,
    })?;
    Ok(args.output)
}

/// Checks that both builds run the kernel and give `expected`.
#[track_caller]
fn expect_output(kernel: &'static str, geometry: Geometry, input: &[f32], expected: &[f32]) {
    for check in [Check::Optimised, Check::Checked] {
        let found = run(check, kernel, geometry, input, expected.len());
        assert_eq!(found.as_deref(), Ok(expected), "{kernel}, {check:?}");
    }
}

/// Checks that the checked build refuses the kernel with a report that has all of `words` in it.
#[track_caller]
fn expect_report(kernel: &'static str, geometry: Geometry, input: &[f32], outputs: usize, words: &[&str]) {
    match run(Check::Checked, kernel, geometry, input, outputs) {
        Err(Error::Device { operation, reason }) => {
            assert_eq!(operation, kernel);
            for word in words {
                assert!(reason.contains(word), "{kernel}: no `{word}` in: {reason}");
            }
        }
        other => panic!("{kernel}: expected a report of {words:?}, found {other:?}"),
    }
}

/// The counters of one launch of a test kernel.
fn count(kernel: &'static str, geometry: Geometry, input: &[f32], outputs: usize) -> Totals {
    let executor = Executor::new(Check::Checked).expect("an executor");
    launch(&executor, kernel, geometry, input, outputs).expect("a launch without faults");
    let mut counters = executor.take_counters();
    let LaunchCounters { kernel: counted, totals } = counters.pop().expect("counters of the launch");
    assert_eq!((counted.as_str(), counters.len()), (kernel, 0));
    totals
}

/// 1, 2, 3, ...
fn numbers(count: usize) -> Vec<f32> {
    (1..=count).map(|number| number as f32).collect()
}
