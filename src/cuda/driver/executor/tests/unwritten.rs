//! Reads of memory that nothing has written.

use super::*;

#[test]
fn reads_of_written_memory() {
    let swapped: Vec<f32> = (0..32).map(|i| ((i ^ 1) + 1) as f32).collect();
    expect_output("test_unwritten_right", block(32), &numbers(32), &swapped);
}

#[test]
fn a_shared_element_that_no_thread_wrote() {
    let words = ["thread (1,0,0)", "read of 4 bytes at byte 0 of a shared array", "nothing has written"];
    expect_report("test_unwritten_shared", block(32), &numbers(32), 32, &words);
}

#[test]
fn shared_memory_of_the_block_before() {
    let geometry = Geometry { grid: 2, ..block(32) };
    let words = ["block (1,0,0)", "shared array `values`", "nothing has written"];
    expect_report("test_unwritten_since_last_block", geometry, &numbers(32), 64, &words);
}

#[test]
fn a_global_element_that_nothing_wrote() {
    let words = ["read of 4 bytes at byte 0 of a global array", "nothing has written"];
    expect_report("test_unwritten_global", block(32), &numbers(32), 32, &words);
}

#[test]
fn an_output_that_the_host_reads() {
    let found = run(Check::Checked, "test_unwritten_output", block(32), &numbers(32), 32);
    let Err(Error::Device { operation, reason }) = found else { panic!("no error: {found:?}") };
    assert_eq!(operation, "download");
    assert!(reason.contains("byte 124") && reason.contains("nothing has written"), "{reason}");
    assert_eq!(run(Check::Checked, "test_unwritten_output", block(32), &numbers(33), 32), Ok(numbers(32)));
}
