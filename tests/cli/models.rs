//! Folders of models: what the command reads of them, and what it says of damaged ones.

use super::{errors, fails, run, short, text};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::fs;
use std::path::{Path, PathBuf};

const MODEL: &str = "tests/data/hf_tied_n16_k4";

/// Token i is the word `w` and i. The file has a limit of two tokens, which is not one of the model.
pub fn words() -> String {
    let words: Vec<String> = (0..40).map(|i| format!(r#""w{i}": {i}"#)).collect();
    format!(
        r#"{{"version": "1.0", "padding": null,
            "truncation": {{"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}},
            "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {{"type": "WhitespaceSplit"}}, "post_processor": null, "decoder": null,
            "model": {{"type": "WordLevel", "unk_token": "w39", "vocab": {{{}}}}}}}"#,
        words.join(", ")
    )
}

/// A copy of a model of 40 tokens, with a tokenizer.
pub fn model_with_tokenizer(dir: &Path, tokenizer: &str) -> PathBuf {
    for file in ["config.json", "model.safetensors"] {
        fs::copy(Path::new(MODEL).join(file), dir.join(file)).unwrap();
    }
    fs::write(dir.join("tokenizer.json"), tokenizer).unwrap();
    dir.into()
}

#[test]
fn a_tokenizer_next_to_the_weights_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_tokenizer(dir.path(), &words());
    let model = model.to_str().unwrap();
    let output = run(&short(&["--model", model, "--prompt", "w7 w8 w9"]));
    assert!(errors(&output).contains("prompt: 3 tokens"), "{}", errors(&output));
    let words = text(output);
    assert!(words.starts_with("w7 w8 w9 w") && words.ends_with('\n'), "{words}");
    let is_word =
        |word: &str| word.strip_prefix('w').is_some_and(|id| id.parse::<u32>().is_ok_and(|id| id < 40));
    assert!(words.trim_end().split(' ').all(is_word), "{words}");

    fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
    fails(&["generate", "--model", model], 1, &["tokenizer.json"]);
}

/// Every token of a list ends a text, and generation_config.json's list comes before config.json's.
#[test]
fn every_token_of_a_list_ends_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_tokenizer(dir.path(), &words());
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let with = |eos: &str, generation: Option<&str>| {
        fs::write(
            model.join("config.json"),
            config.replace(r#""eos_token_id": 0"#, &format!(r#""eos_token_id": {eos}"#)),
        )
        .unwrap();
        let path = model.join("generation_config.json");
        let _ = fs::remove_file(&path);
        if let Some(json) = generation {
            fs::write(path, json).unwrap();
        }
        let arguments = short(&["--model", model.to_str().unwrap(), "--prompt", "w7 w8", "--no-echo"]);
        text(run(&arguments)).split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    let whole = with("999", None);
    assert_eq!(whole.len(), 40);
    let stop = whole[5].as_str();
    let end = whole.iter().position(|word| word == stop).unwrap();
    let id = &stop[1..];
    assert_eq!(with(&format!("[999, {id}]"), None), whole[..end]);
    assert_eq!(with("999", Some(&format!(r#"{{"eos_token_id": [999, {id}]}}"#))), whole[..end]);
    assert_eq!(with("[999]", Some(&format!(r#"{{"eos_token_id": {id}}}"#))), whole[..end]);
    assert_eq!(with(id, Some(r#"{"eos_token_id": [999]}"#)), whole);
    assert_eq!(with(id, Some(r#"{"do_sample": true}"#)), whole[..end]);
}

/// Sampling as generation_config.json says, unless the arguments say otherwise.
#[test]
fn defaults_of_sampling() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_tokenizer(dir.path(), &words());
    let with = |generation: Option<&str>, more: &[&str]| {
        let path = model.join("generation_config.json");
        let _ = fs::remove_file(&path);
        if let Some(json) = generation {
            fs::write(path, json).unwrap();
        }
        let arguments = ["--model", model.to_str().unwrap(), "--prompt", "w7 w8"];
        text(run(&short(&[&arguments, more].concat())))
    };
    let plain = with(None, &[]);
    assert_eq!(with(None, &["--temperature", "0.8", "--top-p", "0.95", "--top-k", "0"]), plain);
    assert_eq!(with(Some("{}"), &[]), plain);
    let greedy = with(None, &["--temperature", "0"]);
    assert_ne!(greedy, plain);
    for json in [r#"{"do_sample": false, "temperature": 2.0}"#, r#"{"temperature": 0}"#, r#"{"top_k": 1}"#] {
        assert_eq!(with(Some(json), &[]), greedy, "{json}");
    }
    assert_eq!(with(Some(r#"{"do_sample": false}"#), &["--temperature", "0.8"]), plain);
    let all =
        r#"{"do_sample": true, "temperature": 1.5, "top_k": 7, "top_p": 0.9, "repetition_penalty": 1.3}"#;
    let arguments = ["--temperature", "1.5", "--top-k", "7", "--top-p", "0.9", "--repetition-penalty", "1.3"];
    assert_eq!(with(Some(all), &[]), with(None, &arguments));
    fs::write(model.join("generation_config.json"), r#"{"top_p": 2}"#).unwrap();
    let model = model.to_str().unwrap();
    fails(&["generate", "--model", model], 1, &["generation_config.json", "`top_p`", "found 2"]);
}

#[test]
fn a_head_that_differs_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_tokenizer(dir.path(), &words());
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let embedding = tensors.tensor("backbone.embeddings.weight").unwrap();
    let zeros = vec![0; embedding.data().len()];
    for (data, noted) in [(embedding.data(), false), (&zeros, true)] {
        let head = TensorView::new(embedding.dtype(), embedding.shape().to_vec(), data).unwrap();
        let all = tensors.iter().chain([("lm_head.weight", head)]);
        fs::write(model.join("model.safetensors"), safetensors::serialize(all, None).unwrap()).unwrap();
        let output = run(&short(&["--model", model.to_str().unwrap(), "--prompt", "w7"]));
        assert_eq!(
            errors(&output).contains("note: the configuration ties the head"),
            noted,
            "{}",
            errors(&output)
        );
        text(output);
    }
}

/// A tokenizer that makes the library panic is an error of one line.
#[test]
fn tokenizers_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_tokenizer(dir.path(), &words());
    let arguments = ["generate", "--model", model.to_str().unwrap(), "--prompt", "w7"];
    let tokenizer = model.join("tokenizer.json");
    let damaged = |text: &str| {
        fs::write(&tokenizer, text).unwrap();
        fails(&arguments, 1, &["cannot read", "tokenizer.json"]);
        let message = errors(&run(&arguments));
        assert_eq!(message.lines().count(), 1, "{message}");
    };
    damaged(&words().replace(r#""decoder": null"#, r#""decoder": {"type": "Fuse",}"#));
    damaged(r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}"#);
    damaged("");

    fs::remove_file(&tokenizer).unwrap();
    fs::create_dir(&tokenizer).unwrap();
    fails(&arguments, 1, &["tokenizer.json: not a regular file"]);
    fs::remove_dir(&tokenizer).unwrap();
    fs::File::create(&tokenizer).unwrap().set_len(3 << 30).unwrap();
    fails(&arguments, 1, &["tokenizer.json: longer than the limit of 134217728 bytes"]);
}

/// A link to nothing is not an absent file, and a pipe is not waited for.
#[cfg(unix)]
#[test]
fn links_and_pipes() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_tokenizer(dir.path(), &words());
    let arguments = ["generate", "--model", model.to_str().unwrap(), "--prompt", "w7", "--max-tokens", "1"];
    for file in ["tokenizer.json", "generation_config.json", "config.json", "model.safetensors"] {
        let path = model.join(file);
        let kept = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("../gone", &path).unwrap();
        fails(&arguments, 1, &[file, "a symbolic link to `../gone`, which does not exist"]);
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        fails(&arguments, 1, &[file, "not a regular file"]);
        fs::remove_file(&path).unwrap();
        kept.inspect(|bytes| fs::write(&path, bytes).unwrap());
    }
    text(run(&arguments));
}
