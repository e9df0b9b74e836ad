//! Barriers of a block.

use super::*;

#[test]
fn a_barrier_that_all_threads_reach() {
    let input = numbers(128);
    let reversed: Vec<f32> = input.iter().rev().copied().collect();
    expect_output("test_barrier_right", block(128), &input, &reversed);
}

#[test]
fn a_barrier_that_some_threads_do_not_reach() {
    let words = ["barrier not reached by all threads", "test_barriers.cu:16", "has exited"];
    expect_report("test_barrier_after_exit", block(128), &numbers(128), 128, &words);
}

#[test]
fn two_barriers_in_two_branches() {
    let words = ["barrier not reached by all threads", "test_barriers.cu:24", "test_barriers.cu:26"];
    expect_report("test_barrier_in_branches", block(128), &numbers(128), 128, &words);
}

#[test]
fn barriers_that_count() {
    let mut input = vec![0.0; 96];
    expect_output("test_barrier_counts", block(96), &input, &[0.0; 96]);
    input[5] = 1.0;
    expect_output("test_barrier_counts", block(96), &input, &[1001.0; 96]);
    input.fill(1.0);
    expect_output("test_barrier_counts", block(96), &input, &[3096.0; 96]);
}
