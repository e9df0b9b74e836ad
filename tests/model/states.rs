//! States as values: a shared prefix, clones, saved files, PyTorch's layouts, and what is refused.

use crate::support::{Expected, data, for_backends, load};
use mamba_kernels::model::{Logits, Mamba, ModelError, Scratch, State};
use mamba_kernels::{Backend, Batch, Slot};

const FOLDER: &str = "hf_tied_n16_k4";

/// The logits after more tokens in one slot.
fn go_on<B: Backend>(model: &Mamba<B>, state: &mut State<B>, slot: u32, tokens: &[u32]) -> Vec<f32> {
    let batch = Batch::new(&[0, tokens.len()], &[Slot::new(slot)]).unwrap();
    model.forward(tokens, &batch, state, Logits::Last, &mut Scratch::default()).unwrap()
}

/// A prefix computed once gives what computing it every time gives.
fn a_prefix_is_computed_once<B: Backend>(make: impl Fn() -> B) {
    let model = load(make(), FOLDER);
    let backend = model.backend();
    let tokens = Expected::of(FOLDER).tokens;
    let (prefix, rest) = tokens.split_at(15);
    let (one, two) = rest.split_at(9);

    let alone = [one, two].map(|rest| {
        let mut state = model.new_state(1).unwrap();
        go_on(&model, &mut state, 0, prefix);
        go_on(&model, &mut state, 0, rest)
    });

    let mut shared = model.new_state(1).unwrap();
    go_on(&model, &mut shared, 0, prefix);
    let mut state = model.new_state(4).unwrap();
    state.copy_slot_from(backend, &shared, 0, 3).unwrap();
    state.copy_slot(backend, 3, 1).unwrap();
    let batch = Batch::new(&[0, one.len(), one.len() + two.len()], &[Slot::new(1), Slot::new(3)]).unwrap();
    let together = model.forward(rest, &batch, &mut state, Logits::Last, &mut Scratch::default()).unwrap();
    assert_eq!(together, alone.concat());

    // a clone goes its own way, and the original stays as it was
    let mut clone = shared.try_clone(backend).unwrap();
    assert_eq!(go_on(&model, &mut clone, 0, one), alone[0]);
    assert_eq!(go_on(&model, &mut shared, 0, two), alone[1]);

    // a slot that is reset is at the start again, and its neighbour is not
    let fresh = go_on(&model, &mut model.new_state(1).unwrap(), 0, one);
    let before = state.ssm_state(backend, 1).unwrap();
    state.reset(backend, 1).unwrap();
    let after = state.ssm_state(backend, 1).unwrap();
    let slot = after.len() / 4;
    assert!(after[slot..2 * slot].iter().all(|&h| h == 0.0) && before[3 * slot..] == after[3 * slot..]);
    assert_eq!(go_on(&model, &mut state, 1, one), fresh);
}

fn saved_and_loaded<B: Backend>(make: impl Fn() -> B) {
    let dir = tempfile::tempdir().unwrap();
    for folder in [FOLDER, "hf_odd19_n1_k2", "state_spaces_ssm_cfg_n8_k3"] {
        let model = load(make(), folder);
        let backend = model.backend();
        let tokens = Expected::of(folder).tokens;
        let mut state = model.new_state(3).unwrap();
        go_on(&model, &mut state, 2, &tokens[..11]);
        let path = dir.path().join(folder);
        state.save(backend, &path).unwrap();
        let mut loaded = State::load(backend, model.config(), &path).unwrap();
        assert_eq!((loaded.slots(), loaded.layers()), (3, model.config().n_layer));
        let (after, loaded_after) =
            (go_on(&model, &mut state, 2, &tokens[11..]), go_on(&model, &mut loaded, 2, &tokens[11..]));
        assert_eq!(after, loaded_after);
        state.save(backend, &path).unwrap(); // over an existing file
    }
    let odd = load(make(), "hf_odd19_n1_k2");
    let refused = |name: &str| {
        let error = State::load(odd.backend(), odd.config(), &dir.path().join(name)).err().unwrap();
        error.to_string().replace(&dir.path().display().to_string(), "DIR").replace("DIR\\", "DIR/")
    };
    let expected = "tensor `conv.0` in DIR/hf_tied_n16_k4: expected the shape [3, 1, 38], found [3, 3, 48]";
    assert_eq!(refused(FOLDER), expected);
    assert!(refused("none").starts_with("DIR/none: "));
    let weights = data().join(FOLDER).join("model.safetensors");
    std::fs::copy(&weights, dir.path().join("weights")).unwrap();
    let expected = "DIR/weights: not a saved state: expected `format` = \"mamba-kernels state\" in its metadata, \
                    found \"pt\"";
    assert_eq!(refused("weights"), expected);
    let whole = std::fs::read(dir.path().join("hf_odd19_n1_k2")).unwrap();
    std::fs::write(dir.path().join("cut"), &whole[..whole.len() - 1]).unwrap();
    assert!(refused("cut").contains("the file is truncated or damaged"));
    let version = String::from_utf8_lossy(&whole[8..]).find("\"version\":\"1\"").unwrap() + 8;
    let mut other = whole;
    other[version + 11] = b'2';
    std::fs::write(dir.path().join("other"), &other).unwrap();
    assert!(refused("other").ends_with("expected `version` = \"1\" in its metadata, found \"2\""));

    // a file of a model with the same widths and more layers
    let deep = dir.path().join("deep");
    let text = std::fs::read_to_string(data().join("hf_odd19_n1_k2/config.json")).unwrap();
    let text = text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    let config = mamba_kernels::model::Config::from_json(&text).unwrap();
    State::new(odd.backend(), &config, 1).unwrap().save(odd.backend(), &deep).unwrap();
    assert!(refused("deep").contains("expected 2 layers, found a tensor `"));
    odd.new_state(1).unwrap().save(odd.backend(), &deep).unwrap();
    let error = State::load(odd.backend(), &config, &deep).err().unwrap();
    assert!(error.to_string().starts_with("tensor `conv.2` is missing in "));
}

fn there_and_back_in_pytorch_layout<B: Backend>(make: impl Fn() -> B) {
    let model = load(make(), FOLDER);
    let backend = model.backend();
    let tokens = Expected::of(FOLDER).tokens;
    let mut state = model.new_state(2).unwrap();
    go_on(&model, &mut state, 1, &tokens[..9]);
    let mut copy = model.new_state(2).unwrap();
    for i in 0..2 {
        let (conv, ssm) = (state.conv_state(backend, i).unwrap(), state.ssm_state(backend, i).unwrap());
        copy.set_layer(backend, i, &conv, &ssm).unwrap();
    }
    assert_eq!(go_on(&model, &mut state, 1, &tokens[9..]), go_on(&model, &mut copy, 1, &tokens[9..]));
}

/// Every wrong argument is named, and the state stays as it was.
fn what_calls_refuse<B: Backend>(make: impl Fn() -> B) {
    let model = load(make(), FOLDER);
    let backend = model.backend();
    let mut state = model.new_state(2).unwrap();
    let before = go_on(&model, &mut state, 0, &[1, 2, 3]);
    let kept = state.try_clone(backend).unwrap();
    let mut scratch = Scratch::default();
    let mut refused = |state: &mut State<B>, tokens: &[u32], batch: &Batch| {
        model.forward(tokens, batch, state, Logits::Last, &mut scratch).unwrap_err().to_string()
    };
    let (one, three) = (Batch::single(1), Batch::from_lengths(&[1, 1, 1]).unwrap());
    assert_eq!(
        refused(&mut state, &[1, 2], &one),
        "forward: argument `tokens`: expected the 1 tokens of the batch, found 2"
    );
    assert_eq!(
        refused(&mut state, &[1, 40, 41], &Batch::single(3)),
        "forward: argument `tokens`: expected tokens below the vocabulary of 40, found 40 at 1"
    );
    assert_eq!(
        refused(&mut state, &[1, 2, 3], &three),
        "forward: argument `state`: expected at least 3 slots, found 2 slots"
    );
    let mut other = load(make(), "hf_n64_k4").new_state(2).unwrap();
    let sizes = "2 layers of conv [3, 32], ssm [64, 32]";
    assert_eq!(
        refused(&mut other, &[1], &one),
        format!("forward: argument `state`: expected 2 layers of conv [3, 48], ssm [16, 48], found {sizes}")
    );
    let text = |result: Result<(), ModelError>| result.unwrap_err().to_string();
    assert_eq!(
        text(state.copy_slot_from(backend, &other, 0, 0)),
        format!(
            "State::copy_slot_from: argument `source`: \
             expected 2 layers of conv [3, 48], ssm [16, 48], found {sizes}"
        )
    );
    let slot = |call, argument, slot| {
        format!("State::{call}: argument `{argument}`: expected a slot below 2, found {slot}")
    };
    assert_eq!(text(state.reset(backend, 2)), slot("reset", "slot", 2));
    assert_eq!(text(state.copy_slot(backend, 5, 0)), slot("copy_slot", "from", 5));
    assert_eq!(text(state.copy_slot(backend, 0, 6)), slot("copy_slot", "to", 6));
    assert_eq!(text(state.copy_slot_from(backend, &kept, 0, 7)), slot("copy_slot_from", "to", 7));
    assert_eq!(
        state.ssm_state(backend, 2).unwrap_err().to_string(),
        "State::ssm_state: argument `layer`: expected a layer below 2, found 2"
    );
    assert!(state.set_layer(backend, 0, &[0.0], &[0.0]).is_err());
    assert!(model.new_state(usize::MAX).is_err());
    let mut config = model.config().clone();
    config.d_conv = 0;
    assert!(State::new(backend, &config, 1).is_err());
    for i in 0..2 {
        assert_eq!(state.ssm_state(backend, i).unwrap(), kept.ssm_state(backend, i).unwrap());
        assert_eq!(state.conv_state(backend, i).unwrap(), kept.conv_state(backend, i).unwrap());
    }
    state.reset(backend, 0).unwrap();
    assert_eq!(go_on(&model, &mut state, 0, &[1, 2, 3]), before);
}

/// A scratch may go from one model to the next.
fn one_scratch_for_several_models<B: Backend>(make: impl Fn() -> B) {
    let mut scratch = Scratch::with_segment_tokens(0);
    assert_eq!(scratch.segment_tokens(), 1);
    for _ in 0..2 {
        for folder in [FOLDER, "falcon_n16_k4", "hf_odd19_n1_k2"] {
            let model = load(make(), folder);
            let (mut state, mut other) = (model.new_state(1).unwrap(), model.new_state(1).unwrap());
            let batch = Batch::single(4);
            let own = Scratch::with_segment_tokens(1);
            let run = |state: &mut State<B>, scratch: &mut Scratch<B>| {
                model.forward(&[1, 2, 3, 4], &batch, state, Logits::All, scratch).unwrap()
            };
            let mut own = own;
            assert_eq!(run(&mut state, &mut scratch), run(&mut other, &mut own));
        }
    }
}

for_backends!(
    a_prefix_is_computed_once,
    saved_and_loaded,
    there_and_back_in_pytorch_layout,
    what_calls_refuse,
    one_scratch_for_several_models,
);
