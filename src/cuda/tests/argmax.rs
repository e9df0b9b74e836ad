//! [`Cuda::argmax`] on the checked executor.

use crate::arrays::{Error, Rows};
use crate::backend::Backend;
use crate::cuda::Cuda;

/// The column that the kernel finds in each row.
fn argmax(rows: &[Vec<f32>]) -> Vec<u32> {
    let (cuda, columns) = (Cuda::builder().executor().build().unwrap(), rows[0].len());
    let input = cuda.upload(&rows.concat()).unwrap();
    let mut output = cuda.upload(&vec![7u32; rows.len()]).unwrap();
    let input = Rows::new(cuda.view(&input), rows.len(), columns).unwrap();
    cuda.argmax(input, cuda.view_mut(&mut output), &mut Default::default()).unwrap();
    let mut found = vec![0; rows.len()];
    cuda.read(cuda.view(&output), &mut found).unwrap();
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

#[test]
fn wrong_arguments_are_refused() {
    let cuda = Cuda::builder().executor().build().unwrap();
    let other = Cuda::builder().executor().build().unwrap();
    let input = cuda.upload(&[1.0f32; 6]).unwrap();
    let [mut three, mut two] = [3, 2].map(|len| cuda.zeros::<u32>(len).unwrap());
    let mut foreign = other.zeros::<u32>(2).unwrap();
    let refused = |rows, cols, output| {
        let input = Rows::new(cuda.view(&input), rows, cols).unwrap();
        match cuda.argmax(input, output, &mut Default::default()) {
            Err(Error::Argument { op: "argmax", argument, .. }) => argument,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(2, 3, cuda.view_mut(&mut three)), "output");
    assert_eq!(refused(2, 0, cuda.view_mut(&mut two)), "input");
    assert_eq!(refused(2, 3, other.view_mut(&mut foreign)), "output");
}
