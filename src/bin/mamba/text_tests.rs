//! Text that comes token by token, by bytes and by tokenizers.

use super::*;
use proptest::prelude::*;

/// What each byte completes, and the end.
fn pieces(bytes: &[u8]) -> Vec<String> {
    let mut decoder = Codec::Bytes.decoder();
    let mut pieces: Vec<String> = bytes.iter().map(|&byte| decoder.push(byte.into()).unwrap()).collect();
    pieces.push(decoder.finish().unwrap());
    pieces
}

#[test]
fn characters_are_held_back_until_they_are_whole() {
    assert_eq!(pieces("aé".as_bytes()), ["a", "", "é", ""]);
    assert_eq!(pieces("😀".as_bytes()), ["", "", "", "😀", ""]);
}

#[test]
fn invalid_bytes_are_replaced_and_what_follows_is_kept() {
    assert_eq!(pieces(b"\xffa"), ["\u{fffd}", "a", ""]);
    assert_eq!(pieces(b"\xc3a"), ["", "\u{fffd}a", ""]);
    assert_eq!(pieces(b"\xc3\xc3\xa9"), ["", "\u{fffd}", "é", ""]);
    // The end of a text within a character.
    assert_eq!(pieces(b"\xf0\x9f\x98"), ["", "", "", "\u{fffd}"]);
    assert_eq!(Codec::Bytes.decoder().push(256).unwrap(), "\u{fffd}");
}

proptest! {
    #[test]
    fn the_pieces_are_the_lossy_text(bytes: Vec<u8>, text: String) {
        let bytes = [bytes.as_slice(), text.as_bytes(), &bytes].concat();
        prop_assert_eq!(pieces(&bytes).concat(), String::from_utf8_lossy(&bytes));
    }
}

/// A tokenizer of words after spaces, a special token, and the bytes of é.
fn tokenizer() -> Codec {
    let json = r#"{
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "ByteFallback"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": [
            ["<|endoftext|>", 0.0], ["▁It", -1.0], ["▁was", -1.0], ["<0xC3>", -9.0], ["<0xA9>", -9.0]]}
    }"#;
    Codec::Tokenizer(Box::new(Tokenizer::from_bytes(json).unwrap()))
}

#[test]
fn a_tokenizer_keeps_spaces_and_whole_characters() {
    let codec = tokenizer();
    assert_eq!(codec.encode(b"It was").unwrap(), [1, 2]);
    let mut decoder = codec.decoder();
    let mut push = |token| decoder.push(token).unwrap();
    assert_eq!([push(1), push(2), push(3), push(4), push(2)], ["It", " was", "", "é", " was"]);
    // Special tokens, and ids that are none of the tokenizer's, give no text and leave the window as it was.
    assert_eq!([push(0), push(99), push(2), push(3)], ["", "", " was", ""]);
    assert_eq!(decoder.finish().unwrap(), "\u{fffd}");
}

#[test]
fn a_run_of_incomplete_characters_is_not_held_back_forever() {
    let codec = tokenizer();
    let mut decoder = codec.decoder();
    let text: Vec<String> = (0..20).map(|_| decoder.push(3).unwrap()).collect();
    assert_eq!(text.concat().chars().count(), 16, "{text:?}");
    assert_eq!(decoder.finish().unwrap().chars().count(), 4);
}

#[test]
fn where_an_empty_prompt_starts() {
    assert_eq!(Codec::Bytes.first_token(&[3]).unwrap(), 10);
    let codec = tokenizer();
    assert_eq!(codec.first_token(&[3, 2]).unwrap(), 3);
    assert_eq!(codec.first_token(&[]).unwrap(), 0);
}

#[test]
fn a_prompt_for_a_tokenizer_must_be_utf_8_and_one_of_bytes_need_not() {
    assert_eq!(Codec::Bytes.encode(b"\xff").unwrap(), [255]);
    assert_eq!(tokenizer().encode(b"\xff").unwrap_err().to_string(), "the prompt is not UTF-8");
}

/// A byte-level tokenizer, the form that published Mamba checkpoints use: Ġ is the space, Ã and © the bytes of é.
const BYTE_LEVEL: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
              "end_of_word_suffix": "", "fuse_unk": false, "ignore_merges": false,
              "vocab": {"a": 0, "Ġ": 1, "Ã": 2, "©": 3, "Ġa": 4}, "merges": [["Ġ", "a"]]}
}"#;

fn byte_level() -> Codec {
    Codec::parse(BYTE_LEVEL.as_bytes()).unwrap()
}

#[test]
fn a_byte_level_tokenizer_gives_back_what_it_read() {
    let codec = byte_level();
    let tokens = codec.encode(" aé a a".as_bytes()).unwrap();
    assert_eq!(tokens, [4, 2, 3, 4, 4]);
    let mut decoder = codec.decoder();
    let text: Vec<String> = tokens.into_iter().map(|token| decoder.push(token).unwrap()).collect();
    assert_eq!(text, [" a", "", "é", " a", " a"]);
    assert!(codec.first_token(&[]).is_err());
}

/// What the crate panics on is an error that says so, from reading to decoding.
#[test]
fn damaged_tokenizers() {
    let damaged = |from: &str, to: &str| {
        assert!(BYTE_LEVEL.contains(from));
        Codec::parse(BYTE_LEVEL.replace(from, to).as_bytes())
    };
    let decoder = r#""decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
    let decoder_of = |json: &str| damaged(decoder, &format!(r#""decoder": {json}"#));
    let errors = [
        damaged("{\n", "").err(),
        // a comma too many in the decoder
        decoder_of(r#"{"type": "Fuse",}"#).err(),
        decoder_of(r#"{"type": "Fuse""#).err(),
        // a merge of a token that does not exist, and one that makes none
        damaged(r#"[["Ġ", "a"]]"#, r#"[["Ġ", "b"]]"#).err(),
        damaged(r#"[["Ġ", "a"]]"#, r#"[["a", "a"]]"#).err(),
        damaged(r#""continuing_subword_prefix": """#, r###""continuing_subword_prefix": "##""###).err(),
        // pieces of no length
        damaged(
            r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post"#,
            r#"{"type": "FixedLength", "length": 0},
    "post"#,
        )
        .and_then(|codec| codec.encode(b"a a"))
        .err(),
        // a decoder that takes more from an end than there is
        decoder_of(r#"{"type": "Strip", "content": "a", "start": 0, "stop": 3}"#)
            .and_then(|codec| codec.decoder().push(0))
            .err(),
    ];
    let errors = errors.map(|error| format!("{:#}", error.expect("not refused")));
    let panics = errors.iter().filter(|error| error.contains("the tokenizers library panicked: ")).count();
    assert!(panics > 0, "the crate panics on none of these any more: {errors:#?}");
}

proptest! {
    /// Whatever a tokenizer.json contains, reading and using it gives a result or an error.
    #[test]
    fn no_tokenizer_panics(
        changes in proptest::collection::vec((0..BYTE_LEVEL.len(), r#"[\[\]{},:"0a]"#), 1..4),
        text: String,
        tokens in proptest::collection::vec(0u32..6, 0..5),
    ) {
        let mut json = BYTE_LEVEL.as_bytes().to_vec();
        changes.iter().for_each(|(at, byte)| json[*at] = byte.as_bytes()[0]);
        if let Ok(codec) = Codec::parse(&json) {
            let _ = codec.encode(text.as_bytes());
            let mut decoder = codec.decoder();
            let _ = tokens.into_iter().try_for_each(|token| decoder.push(token).map(drop));
            let _ = decoder.finish();
        }
    }
}
