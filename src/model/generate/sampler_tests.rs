//! Each rule of the sampler by cases computed by hand, and what the rules imply.
#![forbid(unsafe_code)]

use super::*;
use proptest::prelude::*;

/// ln of 8, 4, 2, 1, 1: the probabilities 1/2, 1/4, 1/8, 1/16, 1/16, as tokens 3, 0, 4, 1, 2.
fn logits() -> Vec<f32> {
    [4.0f32, 1.0, 1.0, 8.0, 2.0].iter().map(|weight| weight.ln()).collect()
}

fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(sampling).unwrap()
}

/// How often each of the five tokens is drawn in 4000 calls.
fn counts(sampling: Sampling) -> [usize; 5] {
    let mut sampler = sampler(sampling);
    let mut counts = [0; 5];
    for _ in 0..4000 {
        counts[sampler.sample(&logits()).unwrap() as usize] += 1;
    }
    counts
}

/// Whether the counts are within five standard deviations of these probabilities.
fn has_probabilities(counts: [usize; 5], expected: [f64; 5]) -> bool {
    counts.iter().zip(expected).all(|(&count, p)| {
        let deviation = (4000.0 * p * (1.0 - p)).sqrt();
        (count as f64 - 4000.0 * p).abs() <= 5.0 * deviation
    })
}

fn tokens(sampling: Sampling, rows: &[Vec<f32>]) -> Vec<u32> {
    let mut sampler = sampler(sampling);
    rows.iter().map(|row| sampler.sample(row).unwrap()).collect()
}

#[test]
fn temperature_one_draws_the_softmax() {
    let counts = counts(Sampling::default());
    assert!(has_probabilities(counts, [0.25, 0.0625, 0.0625, 0.5, 0.125]), "{counts:?}");
}

#[test]
fn temperature_half_squares_the_probabilities() {
    // The weights 16, 1, 1, 64, 4 of 86.
    let expected = [16.0, 1.0, 1.0, 64.0, 4.0].map(|weight| weight / 86.0);
    let counts = counts(Sampling { temperature: 0.5, ..Sampling::default() });
    assert!(has_probabilities(counts, expected), "{counts:?}");
}

#[test]
fn a_tiny_temperature_is_greedy_and_a_huge_one_uniform() {
    let counts_at = |temperature| counts(Sampling { temperature, ..Sampling::default() });
    assert_eq!(counts_at(f64::MIN_POSITIVE), [0, 0, 0, 4000, 0]);
    assert_eq!(counts_at(1e-3), [0, 0, 0, 4000, 0]);
    assert!(has_probabilities(counts_at(f64::MAX), [0.2; 5]));
}

#[test]
fn top_k_keeps_the_first_k_and_equal_logits_by_id() {
    let counts_at = |top_k| counts(Sampling { top_k, ..Sampling::default() });
    assert!(has_probabilities(counts_at(2), [1.0 / 3.0, 0.0, 0.0, 2.0 / 3.0, 0.0]));
    let of_15 = [4.0, 1.0, 0.0, 8.0, 2.0].map(|weight| weight / 15.0);
    assert!(has_probabilities(counts_at(4), of_15));
    assert_eq!(counts_at(0), counts_at(5));
    assert_eq!(counts_at(0), counts_at(usize::MAX));
}

#[test]
fn top_p_keeps_the_shortest_beginning() {
    let counts_at = |top_p| counts(Sampling { top_p, ..Sampling::default() });
    assert_eq!(counts_at(0.49), [0, 0, 0, 4000, 0]);
    assert!(has_probabilities(counts_at(0.51), [1.0 / 3.0, 0.0, 0.0, 2.0 / 3.0, 0.0]));
    assert!(has_probabilities(counts_at(0.8), [2.0 / 7.0, 0.0, 0.0, 4.0 / 7.0, 1.0 / 7.0]));
    // Logits of 0 make the sums exact, so the boundary is: half of four equal tokens is two of them.
    let mut sampler = sampler(Sampling { top_p: 0.5, ..Sampling::default() });
    let drawn: Vec<u32> = (0..100).map(|_| sampler.sample(&[0.0; 4]).unwrap()).collect();
    assert!(drawn.iter().all(|&token| token < 2) && drawn.contains(&0) && drawn.contains(&1));
}

#[test]
fn top_p_counts_what_top_k_left() {
    // Of the two tokens that top-k leaves, the first has 2/3.
    let counts_at = |top_p| counts(Sampling { top_k: 2, top_p, ..Sampling::default() });
    assert_eq!(counts_at(0.66), [0, 0, 0, 4000, 0]);
    assert!(counts_at(0.67)[0] > 0);
}

#[test]
fn the_penalty_divides_positive_logits_and_multiplies_the_others() {
    let mut sampler = sampler(Sampling { repetition_penalty: 2.0, ..Sampling::greedy() });
    sampler.observe(0);
    sampler.observe(0);
    assert_eq!(sampler.sample(&[3.0, 1.6]).unwrap(), 1); // 1.5 < 1.6, and not 0.75
    assert_eq!(sampler.sample(&[3.0, 1.4]).unwrap(), 0);
    assert_eq!(sampler.sample(&[-1.0, -1.9]).unwrap(), 1); // -2 < -1.9
    assert_eq!(sampler.sample(&[-1.0, -2.1]).unwrap(), 0);
    assert_eq!(sampler.sample(&[0.0, -0.1]).unwrap(), 0);
}

#[test]
fn a_penalty_below_one_favours_what_was_seen() {
    let mut sampler = sampler(Sampling { repetition_penalty: 0.5, ..Sampling::greedy() });
    sampler.observe(1);
    assert_eq!(sampler.sample(&[1.5, 1.0]).unwrap(), 1);
    sampler.observe(70_000);
    assert_eq!(sampler.sample(&[1.5, 1.0]).unwrap(), 1);
}

#[test]
fn equal_logits_go_to_the_lowest_id() {
    let mut greedy = sampler(Sampling::greedy());
    assert_eq!(greedy.sample(&[1.0, 2.0, 2.0]).unwrap(), 1);
    assert_eq!(greedy.sample(&[-0.0, 0.0]).unwrap(), 0);
    assert_eq!(greedy.sample(&[0.0, -0.0]).unwrap(), 0);
}

#[test]
fn logits_that_are_no_numbers_are_errors() {
    for sampling in [Sampling::greedy(), Sampling::default()] {
        let mut sampler = sampler(sampling);
        for value in [f32::NAN, f32::INFINITY] {
            let error = sampler.sample(&[0.0, value]).unwrap_err();
            assert!(matches!(error, ModelError::Logit { token: 1, .. }), "{error}");
        }
        assert!(matches!(sampler.sample(&[]), Err(ModelError::Argument { .. })));
        assert!(matches!(sampler.sample(&[f32::NEG_INFINITY; 2]), Err(ModelError::Argument { .. })));
        assert_eq!(sampler.sample(&[f32::NEG_INFINITY, f32::MIN]).unwrap(), 1);
    }
}

#[test]
fn parameters_outside_their_range_are_errors() {
    let refused = |sampling| match Sampler::new(sampling) {
        Err(ModelError::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    for temperature in [-0.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(Sampling { temperature, ..Sampling::default() }), "temperature");
    }
    for top_p in [0.0, 1.1, f64::NAN] {
        assert_eq!(refused(Sampling { top_p, ..Sampling::default() }), "top_p");
    }
    for repetition_penalty in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(Sampling { repetition_penalty, ..Sampling::default() }), "repetition_penalty");
    }
}

#[test]
fn the_random_numbers_are_the_documented_ones() {
    assert_eq!(uniform(0), 0.0);
    assert_eq!(uniform(u64::MAX), 1.0 - f64::EPSILON / 2.0);
    assert_eq!(uniform(1 << 63), 0.5);
    // A change of these is a change of every seeded text.
    let mut rng = Pcg64::seed_from_u64(1);
    assert_eq!([rng.next_u64(), rng.next_u64()], [15492934433077865799, 319104231195455319]);
}

#[test]
fn exp_is_close_to_the_systems() {
    for step in 0..=7080 {
        let x = -f64::from(step) / 10.0;
        let (found, expected) = (exp(x), x.exp());
        assert!((found - expected).abs() <= 8.0 * f64::EPSILON * expected, "{x}: {found} {expected}");
    }
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-1e300), 0.0);
    assert_eq!(exp(f64::NEG_INFINITY), 0.0);
}

/// Rows of logits in which equal values are frequent.
fn rows() -> impl Strategy<Value = Vec<Vec<f32>>> {
    let logit = prop_oneof![(-8i32..8).prop_map(|x| x as f32), -20.0f32..20.0];
    prop::collection::vec(prop::collection::vec(logit, 1..40), 1..10)
}

/// Steps 3 to 5 in the plainest form: everything sorted at once.
fn plain(logits: &[f32], sampling: Sampling) -> u32 {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| exp((f64::from(logit) - f64::from(best)) / sampling.temperature);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let by_id = (0..logits.len()).filter(|id| order.contains(id));
    let mut total = by_id.fold(0.0, |sum, id| sum + weight(logits[id]));
    let first = |order: &[usize], holds: &dyn Fn(f64) -> bool| {
        let mut sum = 0.0;
        let index = order.iter().position(|&id| {
            sum += weight(logits[id]);
            holds(sum)
        });
        (index.unwrap_or(order.len() - 1), sum)
    };
    if sampling.top_p < 1.0 {
        let (last, sum) = first(&order, &|sum| sum >= sampling.top_p * total);
        order.truncate(last + 1);
        total = sum;
    }
    let threshold = uniform(Pcg64::seed_from_u64(sampling.seed).next_u64()) * total;
    order[first(&order, &|sum| sum > threshold).0] as u32
}

proptest! {
    #[test]
    fn sorting_in_parts_changes_nothing(
        logits in prop::collection::vec(prop_oneof![(-3i32..3).prop_map(|x| x as f32), -3.0f32..3.0], 1..600),
        seed: u64,
        temperature in prop_oneof![Just(1.0), 0.2f64..50.0],
        top_k in prop_oneof![Just(0usize), 1usize..600],
        top_p in prop_oneof![Just(1.0), 0.01f64..1.0],
    ) {
        let sampling = Sampling { seed, temperature, top_k, top_p, ..Sampling::default() };
        prop_assert_eq!(sampler(sampling).sample(&logits).unwrap(), plain(&logits, sampling));
    }

    #[test]
    fn equal_seeds_give_equal_tokens(rows in rows(), seed: u64, temperature in 0.1f64..3.0, top_k in 0usize..9) {
        let sampling = Sampling { seed, temperature, top_k, top_p: 0.9, ..Sampling::default() };
        prop_assert_eq!(tokens(sampling, &rows), tokens(sampling, &rows));
    }

    #[test]
    fn the_narrowest_choices_are_greedy(rows in rows(), seed: u64, temperature in 0.1f64..3.0) {
        let greedy = tokens(Sampling::greedy(), &rows);
        let sampling = Sampling { seed, temperature, ..Sampling::default() };
        prop_assert_eq!(&tokens(Sampling { top_k: 1, ..sampling }, &rows), &greedy);
        prop_assert_eq!(&tokens(Sampling { top_p: 1e-9, ..sampling }, &rows), &greedy);
    }

    #[test]
    fn wide_limits_change_nothing(rows in rows(), seed: u64) {
        let sampling = Sampling { seed, ..Sampling::default() };
        prop_assert_eq!(tokens(Sampling { top_k: 40, ..sampling }, &rows), tokens(sampling, &rows));
    }
}
