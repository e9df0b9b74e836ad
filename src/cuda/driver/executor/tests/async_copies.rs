//! `cp.async`.

use super::*;

#[test]
fn copies_that_are_waited_for() {
    let expected: Vec<f32> = (0..32).map(|i| (128 - i + 256 - i) as f32).collect();
    expect_output("test_async_right", block(32), &numbers(256), &expected);
}

#[test]
fn a_read_without_a_wait() {
    let words = ["shared array `values`", "an asynchronous copy has not been waited for"];
    expect_report("test_async_no_wait", block(32), &numbers(256), 32, &words);
}

#[test]
fn a_wait_for_too_few_groups() {
    let words = ["at byte 512 of a shared array", "an asynchronous copy has not been waited for"];
    expect_report("test_async_wait_for_too_few", block(32), &numbers(256), 32, &words);
}

#[test]
fn a_read_of_another_threads_copy_without_a_barrier() {
    expect_report("test_async_no_barrier", block(32), &numbers(256), 32, &["shared array `values`"]);
}

#[test]
fn a_copy_over_what_others_still_read() {
    let words = ["race on shared memory: asynchronous copy", "after a read by thread"];
    expect_report("test_async_over_readers", block(32), &numbers(256), 32, &words);
}

#[test]
fn zeros_past_the_end() {
    expect_output("test_async_zero_fill", block(4), &numbers(7), &[5.0, 6.0, 7.0, 0.0]);
}

#[test]
fn a_copy_from_past_the_end() {
    expect_report("test_async_past_end", block(4), &numbers(7), 4, &["out of bounds: read"]);
}

#[test]
fn a_misaligned_copy() {
    expect_report("test_async_misaligned", block(1), &numbers(8), 1, &["misaligned: asynchronous copy"]);
}
