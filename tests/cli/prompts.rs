//! Prompts that begin with a hyphen, and the prompt as it is printed.

use super::models::{model_with_tokenizer, words};
use super::{fails, run, text};

#[test]
fn prompts_that_begin_with_a_hyphen() {
    for prompt in ["- item", "-1", "--- title", "--", "-p", "--no-such-option", "-1.5e3"] {
        let output = text(run(&["generate", "--max-tokens", "3", "--prompt", prompt]));
        assert!(output.starts_with(prompt), "{output}");
        assert_eq!(text(run(&["generate", "--max-tokens", "3", &format!("--prompt={prompt}")])), output);
    }
}

/// Values of other options may begin with a hyphen too, and errors name the value.
#[test]
fn other_values_that_begin_with_a_hyphen() {
    for option in ["--max-tokens", "--top-k", "--seed", "--threads"] {
        fails(&["generate", option, "-1"], 2, &[option, "'-1'"]);
    }
    fails(&["generate", "--model", "-m"], 1, &["-m"]);
    fails(&["logits", "--tokens", "-1", "--out", "unused"], 2, &["--tokens", "'-1'"]);
    fails(&["logits", "--tokens", "1", "--split", "-1", "--out", "unused"], 2, &["--split", "'-1'"]);
    fails(&["logits", "--tokens", "1", "--out", "-no/such/dir"], 1, &["-no/such/dir"]);
}

#[test]
fn the_prompt_is_printed_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let special = |id: usize, content: &str| {
        format!(
            r#"{{"id": {id}, "content": "{content}", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}}"#
        )
    };
    let added =
        format!(r#""added_tokens": [{}, {}]"#, special(38, "<|im_start|>"), special(37, "<|im_end|>"));
    let tokenizer = words()
        .replace(r#""added_tokens": []"#, &added)
        .replace(r#""w38""#, r#""<|im_start|>""#)
        .replace(r#""w37""#, r#""<|im_end|>""#)
        .replace(r#""normalizer": null"#, r#""normalizer": {"type": "Lowercase"}"#);
    let model = model_with_tokenizer(dir.path(), &tokenizer);
    let model = model.to_str().unwrap();
    let generate = |prompt: &str, more: &[&str]| {
        let arguments = ["generate", "--model", model, "--max-tokens", "4", "--prompt", prompt];
        text(run(&[&arguments, more].concat()))
    };
    // special tokens, spaces, what the tokenizer makes small, and a word that it does not know
    let mut texts = String::new();
    for prompt in ["<|im_start|>w7 w8<|im_end|>", "w7   w8", "W7", "w7 unknown"] {
        let whole = generate(prompt, &[]);
        assert!(whole.starts_with(prompt), "{whole}");
        let new = generate(prompt, &["--no-echo"]);
        assert_eq!(format!("{prompt}{}", new.trim_end()), whole.trim_end());
        texts.push_str(&new);
    }
    assert!(texts.contains(" w"), "{texts}");
}

/// Llama's chain of decoders strips the first space of a text. A first token that is only that space is still there.
#[test]
fn a_text_after_a_space_that_is_stripped() {
    let dir = tempfile::tempdir().unwrap();
    let vocab: Vec<String> = (0..39).map(|i| format!(r#"["▁w{i}", -1.0]"#)).collect();
    let tokenizer = format!(
        r#"{{"version": "1.0", "padding": null, "truncation": null, "added_tokens": [], "pre_tokenizer": null,
            "post_processor": null,
            "normalizer": {{"type": "Sequence", "normalizers": [
                {{"type": "Prepend", "prepend": "▁"}},
                {{"type": "Replace", "pattern": {{"String": " "}}, "content": "▁"}}]}},
            "decoder": {{"type": "Sequence", "decoders": [
                {{"type": "Replace", "pattern": {{"String": "▁"}}, "content": " "}},
                {{"type": "ByteFallback"}}, {{"type": "Fuse"}},
                {{"type": "Strip", "content": " ", "start": 1, "stop": 0}}]}},
            "model": {{"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [{}, ["▁", -2.0]]}}}}"#,
        vocab.join(", ")
    );
    let model = model_with_tokenizer(dir.path(), &tokenizer);
    let model = model.to_str().unwrap();
    for prompt in [" w7", "w7", "  w7 w8"] {
        let whole = text(run(&["generate", "--model", model, "--max-tokens", "5", "--prompt", prompt]));
        assert!(whole.starts_with(&format!("{prompt} ")), "{whole}");
    }
}
