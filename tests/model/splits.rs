//! One result however a batch is split, ordered, cut into segments or padded.

use crate::support::{Expected, FOLDERS, for_backends, load};
use crate::tolerance::{Roundings, assert_close};
use mamba_kernels::model::{Logits, Mamba, Scratch, State};
use mamba_kernels::{Backend, Batch, Slot};

/// Runs two sequences in calls of `step` tokens each, and returns their logits `[sequences, length, vocab]`.
fn run<B: Backend>(
    model: &Mamba<B>,
    expected: &Expected,
    step: usize,
    segment: usize,
) -> (Vec<f32>, State<B>) {
    let (length, vocab) = (expected.length, model.config().vocab_size);
    let mut state = model.new_state(2).unwrap();
    let mut scratch = Scratch::with_segment_tokens(segment);
    let mut out = vec![0.0; expected.tokens.len() * vocab];
    for start in (0..length).step_by(step) {
        let part = start..length.min(start + step);
        let tokens: Vec<u32> =
            (0..2).flat_map(|i| &expected.tokens[i * length..][part.clone()]).copied().collect();
        let batch = Batch::from_lengths(&[part.len(); 2]).unwrap();
        let logits = model.forward(&tokens, &batch, &mut state, Logits::All, &mut scratch).unwrap();
        for (i, rows) in logits.chunks_exact(part.len() * vocab).enumerate() {
            out[(i * length + start) * vocab..][..rows.len()].copy_from_slice(rows);
        }
    }
    (out, state)
}

/// Everything that a state holds.
fn contents<B: Backend>(model: &Mamba<B>, state: &State<B>) -> Vec<Vec<f32>> {
    let layers = 0..state.layers();
    let pools = layers.map(|i| {
        [state.conv_state(model.backend(), i).unwrap(), state.ssm_state(model.backend(), i).unwrap()].concat()
    });
    pools.collect()
}

/// Calls of 1, 3 and 7 tokens and segments of 1 and 5: the same bits on an exact backend, logits and states. The
/// reference rounds its state between calls, so its results differ within its tolerance.
fn splits_and_segments<B: Backend>(make: impl Fn() -> B) {
    for folder in FOLDERS {
        let model = load(make(), folder);
        let expected = Expected::of(folder);
        let (whole, whole_state) = run(&model, &expected, expected.length, 256);
        let whole_state = contents(&model, &whole_state);
        for (step, segment) in
            [(1, 256), (3, 256), (7, 256), (expected.length, 1), (expected.length, 5), (7, 4)]
        {
            let (split, state) = run(&model, &expected, step, segment);
            let what = format!("{folder}, calls of {step}, segments of {segment}");
            if model.backend().name() != "reference" {
                assert!(bits(&whole) == bits(&split), "{what}: logits");
                assert_eq!(contents(&model, &state), whole_state, "{what}: states");
                continue;
            }
            let config = model.config();
            let roundings = Roundings { name: "reference", config, length: expected.length }.logits();
            let whole: Vec<f64> = whole.iter().map(|&logit| logit.into()).collect();
            assert_close(&what, roundings, &split, &whole);
        }
    }
}

/// The order of the sequences, the slots they use and padding between them change no bit.
fn order_slots_and_padding<B: Backend>(make: impl Fn() -> B) {
    for folder in FOLDERS {
        let model = load(make(), folder);
        let expected = Expected::of(folder);
        let (length, vocab) = (expected.length, model.config().vocab_size);
        let (whole, whole_state) = run(&model, &expected, length, 256);
        let [first, second] = [0, length].map(|start| &expected.tokens[start..start + length]);

        // padding of 2, the second sequence in slot 1, an empty one, padding of 3, the first in slot 4
        let tokens = [&[0, 1], second, &[1, 0, 1], first].concat();
        let offsets = [0, 2, 2 + length, 2 + length, 5 + length, 5 + 2 * length];
        let slots = [Slot::PADDING, Slot::new(1), Slot::new(0), Slot::PADDING, Slot::new(4)];
        let batch = Batch::new(&offsets, &slots).unwrap();
        let mut state = model.new_state(5).unwrap();
        let mut scratch = Scratch::default();
        let logits = model.forward(&tokens, &batch, &mut state, Logits::All, &mut scratch).unwrap();
        let row = |i: usize| i * vocab;
        assert!(logits[..row(2)].iter().chain(&logits[row(2 + length)..row(5 + length)]).all(|&l| l == 0.0));
        assert!(bits(&logits[row(2)..row(2 + length)]) == bits(&whole[row(length)..]), "{folder}");
        assert!(bits(&logits[row(5 + length)..]) == bits(&whole[..row(length)]), "{folder}");

        let mut pair = model.new_state(2).unwrap();
        for (from, to) in [(4, 0), (1, 1)] {
            pair.copy_slot_from(model.backend(), &state, from, to).unwrap();
        }
        assert_eq!(contents(&model, &pair), contents(&model, &whole_state), "{folder}");
        for untouched in [0, 2, 3] {
            pair.copy_slot_from(model.backend(), &state, untouched, 0).unwrap();
            pair.copy_slot_from(model.backend(), &state, untouched, 1).unwrap();
            assert!(contents(&model, &pair).concat().iter().all(|&value| value == 0.0), "{folder}");
        }

        // the last rows of the same batch, with the rows of padding and of the empty sequence zero
        state = model.new_state(5).unwrap();
        let last = model.forward(&tokens, &batch, &mut state, Logits::Last, &mut scratch).unwrap();
        let zeros = vec![0.0; vocab];
        let (one, two) = (&logits[row(1 + length)..row(2 + length)], &logits[row(4 + 2 * length)..]);
        assert_eq!(last, [&zeros, one, &zeros, &zeros, two].concat(), "{folder}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

for_backends!(splits_and_segments, order_slots_and_padding);
