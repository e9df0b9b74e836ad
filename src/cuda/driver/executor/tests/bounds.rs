//! Accesses outside arrays, and misaligned ones.

use super::*;

fn grid(blocks: u32, threads: u32) -> Geometry {
    Geometry { grid: blocks, ..block(threads) }
}

#[test]
fn global_accesses_within_bounds() {
    expect_output("test_global_right", grid(2, 64), &numbers(100), &numbers(100));
}

#[test]
fn a_global_read_past_the_end() {
    let words = ["block (1,0,0), thread (35,0,0)", "out of bounds: read of 4 bytes at byte 400", "400 bytes"];
    expect_report("test_global_read_past_end", grid(2, 64), &numbers(100), 100, &words);
}

#[test]
fn a_global_write_past_the_end() {
    let words = ["out of bounds: write of 4 bytes at byte 400", "test_bounds.cu:19"];
    expect_report("test_global_write_past_end", grid(2, 64), &numbers(100), 100, &words);
}

#[test]
fn a_global_read_before_the_begin() {
    let words = ["thread (0,0,0)", "out of bounds: read of 4 bytes"];
    expect_report("test_global_before_begin", block(32), &numbers(32), 32, &words);
}

#[test]
fn a_null_pointer() {
    expect_report("test_null_pointer", block(32), &numbers(32), 32, &["out of bounds: read of 4 bytes"]);
}

#[test]
fn dynamic_shared_accesses_within_bounds() {
    let swapped: Vec<f32> = (0..64).map(|i| ((i ^ 1) + 1) as f32).collect();
    let geometry = Geometry { shared_bytes: 256, ..block(64) };
    expect_output("test_dynamic_shared_right", geometry, &numbers(64), &swapped);
}

#[test]
fn a_dynamic_shared_access_past_the_end() {
    let geometry = Geometry { shared_bytes: 256, ..block(64) };
    let words = ["thread (63,0,0)", "out of bounds: write of 4 bytes at byte 256", "shared array `dynamic`"];
    expect_report("test_dynamic_shared_past_end", geometry, &numbers(64), 64, &words);
    let geometry = Geometry { shared_bytes: 0, ..geometry };
    expect_report("test_dynamic_shared_right", geometry, &numbers(64), 64, &["out of bounds: write"]);
}

#[test]
fn a_static_shared_access_past_the_end() {
    let words = ["out of bounds: read of 4 bytes at byte 128", "shared array `first` of 128 bytes"];
    expect_report("test_static_shared_past_end", block(32), &[1.0], 32, &words);
    expect_output("test_static_shared_past_end", block(32), &[], &[3.0; 32]);
}

#[test]
fn too_much_shared_memory() {
    for check in [Check::Optimised, Check::Checked] {
        let geometry = Geometry { shared_bytes: 228 * 1024, ..block(64) };
        let refused = run(check, "test_dynamic_shared_right", geometry, &numbers(64), 64);
        assert!(matches!(refused, Err(Error::Device { .. })), "{refused:?}");
    }
}

#[test]
fn aligned_vectors() {
    let reversed = [4.0, 3.0, 2.0, 1.0, 8.0, 7.0, 6.0, 5.0];
    expect_output("test_vector_right", block(2), &numbers(8), &reversed);
}

#[test]
fn a_misaligned_vector_read() {
    let words = ["read of 16 bytes at byte 4", "misaligned"];
    expect_report("test_vector_misaligned_read", block(2), &numbers(16), 2, &words);
}

#[test]
fn a_misaligned_vector_write() {
    let words = ["write of 8 bytes at byte 4", "misaligned"];
    expect_report("test_vector_misaligned_write", block(2), &numbers(16), 16, &words);
}

#[test]
fn a_vector_across_the_end() {
    let words = ["thread (3,0,0)", "out of bounds: read of 16 bytes at byte 48", "60 bytes"];
    expect_report("test_vector_past_end", block(4), &numbers(15), 4, &words);
}
