//! Counts of accesses whose cost is known.

use super::*;

/// Sectors and the fewest of them, of loads and of stores.
fn sectors(kernel: &'static str, geometry: Geometry, inputs: usize, outputs: usize) -> [(u64, u64); 2] {
    let totals = count(kernel, geometry, &numbers(inputs), outputs);
    [
        (totals.global_load_sectors, totals.global_load_sectors_least),
        (totals.global_store_sectors, totals.global_store_sectors_least),
    ]
}

#[test]
fn neighbours_fill_their_sectors() {
    let geometry = Geometry { grid: 3, ..block(64) };
    assert_eq!(sectors("test_count_coalesced", geometry, 192, 192), [(24, 24), (24, 24)]);
    let totals = count("test_count_coalesced", geometry, &numbers(192), 192);
    assert_eq!((totals.global_loads, totals.global_stores), (6, 6));
    assert_eq!((totals.shared_accesses, totals.barriers, totals.atomics), (0, 0, 0));
}

#[test]
fn a_stride_of_a_sector_takes_one_for_each_lane() {
    assert_eq!(sectors("test_count_strided", block(32), 256, 32), [(32, 4), (4, 4)]);
}

#[test]
fn a_shift_takes_one_sector_more() {
    assert_eq!(sectors("test_count_shifted", block(32), 36, 32), [(5, 4), (4, 4)]);
}

#[test]
fn one_number_for_all_lanes_is_one_sector() {
    assert_eq!(sectors("test_count_broadcast", block(32), 4, 32), [(1, 1), (4, 4)]);
}

#[test]
fn vectors_are_one_access() {
    assert_eq!(sectors("test_count_vectors", block(32), 128, 128), [(16, 16), (16, 16)]);
    let totals = count("test_count_vectors", block(32), &numbers(128), 128);
    assert_eq!((totals.global_loads, totals.global_stores), (1, 1));
}

#[test]
fn lanes_that_take_no_part_cost_nothing() {
    assert_eq!(sectors("test_count_some_lanes", block(64), 128, 64), [(8, 8), (8, 8)]);
    let totals = count("test_count_some_lanes", block(64), &numbers(128), 64);
    assert_eq!((totals.global_loads, totals.global_stores), (8, 2));
}

#[test]
fn a_column_is_in_one_bank_unless_rows_are_padded() {
    let totals = count("test_count_column", block(32), &numbers(1024), 1024);
    assert_eq!((totals.shared_accesses, totals.bank_conflicts, totals.barriers), (64, 32 * 31, 1));
    let totals = count("test_count_padded_column", block(32), &numbers(1024), 1024);
    assert_eq!((totals.shared_accesses, totals.bank_conflicts, totals.barriers), (64, 0, 1));
}

#[test]
fn one_word_for_all_lanes_is_no_conflict() {
    let totals = count("test_count_shared_broadcast", block(32), &numbers(32), 32);
    assert_eq!((totals.shared_accesses, totals.bank_conflicts), (4, 1));
}

#[test]
fn vectors_of_shared_memory_take_four_turns() {
    let totals = count("test_count_shared_vectors", block(32), &numbers(128), 32);
    assert_eq!((totals.shared_accesses, totals.bank_conflicts), (3, 4));
}

#[test]
fn barriers_are_counted_once_a_block() {
    let geometry = Geometry { grid: 2, ..block(96) };
    let totals = count("test_count_barriers", geometry, &numbers(7), 1);
    assert_eq!((totals.barriers, totals.atomics), (14, 192));
}

#[test]
fn only_the_checked_build_counts() {
    let executor = Executor::new(Check::Optimised).expect("an executor");
    launch(&executor, "test_count_coalesced", block(32), &numbers(32), 32).expect("a launch");
    assert_eq!(executor.take_counters(), []);
}
