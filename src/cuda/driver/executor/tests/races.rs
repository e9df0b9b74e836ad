//! Races between threads of a block, and between blocks.

use super::*;

#[test]
fn a_read_after_a_write_without_a_barrier() {
    let words = ["race on shared memory", "shared array `values`", "after a write by thread"];
    expect_report("test_race_read_after_write", block(128), &numbers(128), 128, &words);
}

#[test]
fn barriers_between_all_phases() {
    let rotated: Vec<f32> = (0..64).map(|i| ((i + 2) % 64 + 1) as f32).collect();
    expect_output("test_rotate_right", block(64), &numbers(64), &rotated);
}

#[test]
fn a_write_after_a_read_without_a_barrier() {
    let words = ["race on shared memory", "write at byte", "after a read by thread"];
    expect_report("test_race_write_after_read", block(64), &numbers(64), 64, &words);
}

#[test]
fn two_writes_without_a_barrier() {
    let words = ["race on shared memory", "write at byte 0", "after a write by thread (0,0,0)"];
    expect_report("test_race_write_after_write", block(64), &numbers(64), 64, &words);
}

#[test]
fn lanes_that_meet_at_syncwarp() {
    let exchanged: Vec<f32> = (0..64).map(|i| ((i ^ 2) + 1) as f32).collect();
    expect_output("test_warp_exchange_right", block(64), &numbers(64), &exchanged);
}

#[test]
fn lanes_that_only_shuffle() {
    let words = ["race on shared memory", "nothing orders the two"];
    expect_report("test_race_within_warp", block(32), &numbers(32), 32, &words);
}

#[test]
fn warps_that_meet_at_syncwarp_only() {
    let words = ["race on shared memory", "after a write by thread"];
    expect_report("test_race_between_warps", block(64), &numbers(64), 64, &words);
}

#[test]
fn neighbours_of_16_bits() {
    let swapped: Vec<f32> = (0..64).map(|i| ((i ^ 1) + 1) as f32).collect();
    expect_output("test_neighbours_right", block(64), &numbers(64), &swapped);
}

#[test]
fn atomic_operations_of_all_blocks() {
    for check in [Check::Optimised, Check::Checked] {
        let executor = Executor::new(check).expect("an executor");
        let mut input = numbers(33);
        input[32] = 0.0;
        let args = TestArgs {
            input: executor.alloc(132).expect("memory"),
            output: executor.alloc(128).expect("memory"),
            count: 33,
        };
        executor.upload(bytemuck::cast_slice(&input), args.input).expect("an upload");
        let args_bytes = bytemuck::bytes_of(&args);
        let (grid, block, shared_bytes) = ([3, 1, 1], [32, 1, 1], 0);
        let launch = Launch { kernel: "test_grid_sum_right", grid, block, shared_bytes, args: args_bytes };
        executor.launch(&launch).expect("no fault");
        executor.download(args.input, bytemuck::cast_slice_mut(&mut input)).expect("a download");
        assert_eq!(input[32], 3.0 * 528.0);
    }
}

#[test]
fn plain_writes_of_all_blocks() {
    let geometry = Geometry { grid: 2, ..block(32) };
    let words = ["block (1,0,0)", "race on global memory", "another block"];
    expect_report("test_race_between_blocks", geometry, &numbers(33), 32, &words);
}

#[test]
fn a_write_of_what_an_earlier_block_has_read() {
    let geometry = Geometry { grid: 2, ..block(32) };
    let words = ["block (1,0,0)", "race on global memory: write", "after a read by another block"];
    expect_report("test_race_with_earlier_reader", geometry, &numbers(64), 64, &words);
}
