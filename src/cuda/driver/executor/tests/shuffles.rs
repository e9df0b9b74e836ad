//! Shuffles and votes of a warp.

use super::*;

#[test]
fn a_shuffle_by_all_lanes() {
    let sums = [[528.0; 32], [1552.0; 32]].concat();
    expect_output("test_shuffle_right", block(64), &numbers(64), &sums);
}

#[test]
fn a_shuffle_from_a_lane_that_has_exited() {
    let words = ["thread (15,0,0)", "__shfl_down_sync", "reads from lane 16", "not active"];
    expect_report("test_shuffle_from_exited_lane", block(32), &numbers(32), 32, &words);
}

#[test]
fn a_shuffle_from_a_lane_outside_the_mask() {
    let words = ["__shfl_sync", "reads from lane 20", "not active"];
    expect_report("test_shuffle_from_unnamed_lane", block(32), &numbers(32), 32, &words);
}

#[test]
fn a_shuffle_by_a_lane_outside_its_mask() {
    let words = ["thread (16,0,0)", "lane 16 is not in its own mask"];
    expect_report("test_shuffle_by_unnamed_lane", block(32), &numbers(32), 32, &words);
}

#[test]
fn a_shuffle_that_waits_for_lanes_at_a_barrier() {
    let words = ["__shfl_xor_sync", "waits for lanes that do not come", "16,17,"];
    expect_report("test_shuffle_waits_for_ever", block(32), &numbers(32), 32, &words);
}

#[test]
fn one_mask_at_two_shuffles() {
    let words = ["__shfl_xor_sync", "another operation"];
    expect_report("test_shuffle_in_branches", block(32), &numbers(32), 32, &words);
}

#[test]
fn shuffles_within_segments() {
    let lanes = 0..32usize;
    let same = lanes.clone().map(|lane| lane / 8 * 8 + 2);
    let up = lanes.clone().map(|lane| if lane % 8 < 3 { lane } else { lane - 3 });
    let down = lanes.clone().map(|lane| if lane % 8 + 3 >= 8 { lane } else { lane + 3 });
    let xor = lanes.map(|lane| lane ^ 5);
    let sources = same.chain(up).chain(down).chain(xor);
    let expected: Vec<f32> = sources.map(|source| (source + 1) as f32).collect();
    expect_output("test_shuffle_segments", block(32), &numbers(32), &expected);
}

#[test]
fn votes() {
    let odd: Vec<f32> = (0..32).map(|lane| (lane % 2) as f32).collect();
    let even_votes = 0xaaaa as f32 + 100_000.0;
    let expected: Vec<f32> =
        (0..32).map(|lane| if lane % 2 == 1 { even_votes + 200_000.0 } else { even_votes }).collect();
    expect_output("test_votes", block(32), &odd, &expected);
    expect_output("test_votes", block(32), &[0.0; 32], &[0.0; 32]);
}
