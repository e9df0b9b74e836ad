//! `mk_argmax`, which no op of the backend launches yet, on the checked executor.

use crate::cuda::driver::executor::device::{Check, Executor};
use crate::cuda::driver::interface::{Driver, Launch};
use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};

/// `ArgmaxArgs` of `cuda/args.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct ArgmaxArgs {
    input: u64,
    output: u64,
    stride: i64,
    columns: i64,
    type_number: u32,
    reserved: u32,
}

/// The column that the kernel finds in each row of f32 values.
fn argmax(rows: &[Vec<f32>]) -> Vec<u32> {
    let (executor, columns) = (Executor::new(Check::Checked).unwrap(), rows[0].len());
    let mut found = vec![7u32; rows.len()];
    let input = executor.alloc(rows.len() * columns * 4).unwrap();
    let output = executor.alloc(found.len() * 4).unwrap();
    executor.upload(cast_slice(&rows.concat()), input).unwrap();
    let (stride, columns) = (columns as i64, columns as i64);
    let args = ArgmaxArgs { input, output, stride, columns, type_number: 0, reserved: 0 };
    let launch = Launch {
        kernel: "mk_argmax",
        grid: [rows.len() as u32, 1, 1],
        block: [256, 1, 1],
        shared_bytes: 0,
        args: bytemuck::bytes_of(&args),
    };
    executor.launch(&launch).unwrap();
    executor.download(output, cast_slice_mut(&mut found)).unwrap();
    found
}

#[test]
fn the_first_of_the_largest() {
    for columns in [1, 31, 256, 257, 1000] {
        let value = |row: usize, i: usize| ((i * 37 + row * 11) % 101) as f32 - 50.0;
        let mut rows: Vec<Vec<f32>> =
            (0..3).map(|row| (0..columns).map(|i| value(row, i)).collect()).collect();
        rows.push(vec![-3.0; columns]);
        rows.push(vec![f32::NEG_INFINITY; columns]);
        let first = |row: &Vec<f32>| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|&value| value == largest).unwrap() as u32
        };
        assert_eq!(argmax(&rows), rows.iter().map(first).collect::<Vec<_>>(), "{columns} columns");
    }
}

#[test]
fn a_row_that_has_no_largest_number() {
    for refused in [f32::NAN, f32::INFINITY] {
        let mut row = vec![0.5; 300];
        row[299] = refused;
        assert_eq!(argmax(&[vec![0.5; 300], row]), [0, u32::MAX]);
    }
}
