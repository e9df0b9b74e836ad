//! Tensor cores, `ldmatrix`, and conversions.

use super::*;
use half::{bf16, f16};

/// a, row by row, then b; small whole numbers, so all sums are exact.
fn matrices() -> Vec<f32> {
    (0..16 * 16 + 16 * 8).map(|i| ((i * 37 + i / 7) % 23) as f32 - 11.0).collect()
}

/// a * b + 1, row by row.
fn product(matrices: &[f32]) -> Vec<f32> {
    let (a, b) = matrices.split_at(16 * 16);
    let element =
        |row: usize, column: usize| 1.0 + (0..16).map(|k| a[row * 16 + k] * b[k * 8 + column]).sum::<f32>();
    (0..16 * 8).map(|i| element(i / 8, i % 8)).collect()
}

#[test]
fn mma_fragments_are_those_of_the_plain_product() {
    for kernel in ["test_mma_f16", "test_mma_bf16"] {
        expect_output(kernel, block(32), &matrices(), &product(&matrices()));
    }
}

#[test]
fn ldmatrix_gives_the_fragments_of_mma() {
    expect_output("test_ldmatrix", block(32), &matrices(), &product(&matrices()));
}

#[test]
fn a_misaligned_row_of_ldmatrix() {
    let words = ["thread (5,0,0)", "read of 16 bytes", "misaligned"];
    expect_report("test_ldmatrix_misaligned", block(32), &[], 32, &words);
}

#[test]
fn mma_without_the_whole_warp() {
    expect_report("test_mma_half_warp", block(32), &[], 32, &["mma", "needs all 32 lanes"]);
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }).collect()
}

#[test]
fn every_f16_widens_exactly() {
    let geometry = Geometry { grid: 64, ..block(1024) };
    let expected: Vec<f32> = (0..=u16::MAX).map(|half| f16::from_bits(half).to_f32()).collect();
    let found = run(Check::Optimised, "test_widen_f16", geometry, &[], 65536).expect("no fault");
    assert_eq!(bits(&found), bits(&expected));
}

#[test]
fn numbers_round_to_the_nearest_half() {
    let mut inputs: Vec<f32> = (0..65535u32).map(|i| f32::from_bits(i.wrapping_mul(65_537 * 31))).collect();
    // Ties and their neighbours: at the largest f16, at half of the smallest, at whole numbers, at the
    // fractions of bf16.
    inputs.extend([65519.0, 65520.0, 65536.0, 2049.0, 2051.0, -2049.0]);
    let smallest = 2f32.powi(-24);
    inputs.extend([smallest, smallest / 2.0, (smallest / 2.0).next_up(), smallest * 1.5]);
    inputs.extend([1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), (1.0 + 2f32.powi(-8)).next_up()]);
    inputs.extend([f32::MAX, f32::INFINITY, f32::NAN, -0.0]);
    let geometry = Geometry { grid: 65, ..block(1024) };
    let rounded = |kernel| run(Check::Optimised, kernel, geometry, &inputs, inputs.len()).expect("no fault");
    let to_f16: Vec<f32> = inputs.iter().map(|&input| f16::from_f32(input).to_f32()).collect();
    assert_eq!(bits(&rounded("test_round_f16")), bits(&to_f16));
    let to_bf16: Vec<f32> = inputs.iter().map(|&input| bf16::from_f32(input).to_f32()).collect();
    assert_eq!(bits(&rounded("test_round_bf16")), bits(&to_bf16));
}
