//! The pieces of a text against decoding all tokens at once, for every kind of decoder.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a text is made of: each unit is tokens that make whole characters.
const UNITS: &[&[&str]] = &[
    &["▁"],
    &["▁▁"],
    &["▁a"],
    &["b"],
    &["b</w>"],
    &["##c"],
    &["."],
    &["|"],
    &["<pad>"],
    &[" "],
    &[" d"],
    &["é"],
    &["'s"],
    &["Ġ"],
    &["Ġe"],
    &["Ã", "©"],
    &["<0xC3>", "<0xA9>"],
    &["<0x41>"],
    &["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"],
    &["<s>"], // special: it has no text
    &["no such token"],
];

/// A tokenizer of the tokens in [`UNITS`].
fn tokenizer(decoder: Value) -> Tokenizer {
    let tokens = UNITS.iter().flat_map(|unit| unit.iter()).filter(|token| **token != "no such token");
    let vocab: Value = tokens.enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect();
    let special = json!({"id": vocab["<s>"], "content": "<s>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
        "model": {"type": "WordLevel", "unk_token": "b", "vocab": vocab},
    });
    Tokenizer::from_bytes(json.to_string()).unwrap()
}

/// Every decoder of the crate, and the chains that published tokenizers have.
fn decoders() -> Vec<Value> {
    let metaspace =
        |scheme| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let strip = |start, stop| json!({"type": "Strip", "content": " ", "start": start, "stop": stop});
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let (bytes, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let sequence = |decoders: &[&Value]| json!({"type": "Sequence", "decoders": decoders});
    let ctc = |cleanup| json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": cleanup});
    vec![
        Value::Null,
        bytes.clone(),
        fuse.clone(),
        replace.clone(),
        strip(1, 0),
        strip(0, 1),
        metaspace("always"),
        metaspace("first"),
        metaspace("never"),
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": false}),
        ctc(true),
        ctc(false),
        sequence(&[&replace, &bytes, &fuse, &strip(1, 0)]), // Llama's
        sequence(&[&replace, &bytes, &fuse, &strip(3, 0)]),
        sequence(&[&replace, &fuse, &strip(0, 1)]),
        sequence(&[&bytes, &metaspace("always")]),
        sequence(&[&ctc(true), &metaspace("always")]),
    ]
}

fn ids(tokenizer: &Tokenizer, units: &[usize]) -> Vec<u32> {
    let tokens = units.iter().flat_map(|&unit| UNITS[unit]);
    tokens.map(|token| tokenizer.token_to_id(token).unwrap_or(99)).collect()
}

/// The text of `new` after `prompt`, piece by piece.
fn streamed(tokenizer: &Tokenizer, prompt: &[u32], new: &[u32]) -> String {
    let mut window = Window::new(tokenizer);
    window.skip(prompt).unwrap();
    let pieces = new.iter().map(|&token| window.push(token).unwrap());
    pieces.collect::<String>() + &window.flush().unwrap()
}

/// All tokens at once. One of the decoders panics if there is none.
fn at_once(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    guarded(|| tokenizer.decode(tokens, true)).unwrap_or_default()
}

fn unit(token: &str) -> usize {
    UNITS.iter().position(|unit| unit[0] == token).unwrap()
}

#[test]
fn a_space_that_a_decoder_strips_is_not_taken_from_the_next_token() {
    let llama = tokenizer(decoders()[15].clone());
    let tokens = ids(&llama, &[unit("▁"), unit("▁a")]);
    assert_eq!(streamed(&llama, &[], &tokens), " a");
    let metaspace = tokenizer(decoders()[6].clone());
    let tokens = ids(&metaspace, &[unit("▁"), unit("▁a")]);
    assert_eq!(streamed(&metaspace, &[], &tokens), " a");
}

#[test]
fn equal_tokens_that_a_decoder_merges() {
    let ctc = tokenizer(decoders()[13].clone());
    let units = ["b", "b", "<pad>", "<pad>", "b", "|", "|", "b"].map(unit);
    assert_eq!(streamed(&ctc, &[], &ids(&ctc, &units)), "bb b");
}

#[test]
fn long_runs() {
    for decoder in decoders() {
        let tokenizer = tokenizer(decoder.clone());
        for (token, _) in UNITS.iter().map(|unit| (unit[0], ())) {
            let tokens = ids(&tokenizer, &[unit(token); 150]);
            assert_eq!(streamed(&tokenizer, &[], &tokens), at_once(&tokenizer, &tokens), "{decoder} {token}");
        }
    }
}

proptest! {
    #[test]
    fn the_pieces_are_the_text(
        kind in 0..decoders().len(),
        units in proptest::collection::vec(0..UNITS.len(), 0..60),
        prompt in 0usize..60,
        repeats in 1usize..5,
    ) {
        let tokenizer = tokenizer(decoders()[kind].clone());
        let tokens = ids(&tokenizer, &units);
        prop_assert_eq!(streamed(&tokenizer, &[], &tokens), at_once(&tokenizer, &tokens));

        let prompt = ids(&tokenizer, &units[..prompt.min(units.len())].repeat(repeats));
        let all = at_once(&tokenizer, &[&prompt[..], &tokens].concat());
        let whole = at_once(&tokenizer, &prompt) + &streamed(&tokenizer, &prompt, &tokens);
        prop_assert_eq!(whole, all);
    }
}
