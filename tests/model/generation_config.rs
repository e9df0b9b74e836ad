//! `generation_config.json`: the tokens that end a text, and the defaults of sampling.

use crate::support::{copy_of, load};
use mamba_kernels::Reference;
use mamba_kernels::model::{GenerateOptions, Generation, GenerationConfig, Mamba, Sampling};
use std::fs;

fn parsed(json: &str) -> GenerationConfig {
    GenerationConfig::from_json(json).unwrap()
}

/// A model of 40 tokens whose config.json ends texts at 0, with this file next to it.
fn model(generation_config: Option<&str>) -> Result<Mamba<Reference>, String> {
    let dir = copy_of("hf_tied_n16_k4");
    if let Some(text) = generation_config {
        fs::write(dir.path().join("generation_config.json"), text).unwrap();
    }
    let model = Mamba::load(Reference, dir.path());
    model.map_err(|error| error.to_string().replace(&dir.path().display().to_string(), "DIR"))
}

#[test]
fn its_tokens_come_before_those_of_the_configuration() {
    let ids = |json| model(json).unwrap().eos_token_ids().to_vec();
    assert_eq!(ids(None), [0]);
    assert_eq!(ids(Some(r#"{"eos_token_id": 5}"#)), [5]);
    assert_eq!(ids(Some(r#"{"eos_token_id": [5, 12]}"#)), [5, 12]);
    for none in ["{}", r#"{"eos_token_id": null}"#, r#"{"eos_token_id": []}"#, r#"{"eos_token_id": -1}"#] {
        assert_eq!(ids(Some(none)), [0], "{none}");
    }
    assert_eq!(model(Some("{}")).unwrap().config().eos_token_ids, [0]);
}

/// Every token of a list ends a text, not only the first.
#[test]
fn options_of_a_model() {
    let sampling = Sampling { seed: 7, ..Default::default() };
    let tokens = |model: &Mamba<Reference>| {
        let options = GenerateOptions::of_model(model, sampling).unwrap();
        let options = GenerateOptions { max_tokens: 30, ..options };
        Generation::new(model, &[3, 1, 4], options).unwrap().map(Result::unwrap).collect::<Vec<u32>>()
    };
    let whole = tokens(&model(Some(r#"{"eos_token_id": 39999}"#)).unwrap());
    assert_eq!(whole.len(), 30);
    let stop = whole[6];
    let end = whole.iter().position(|&token| token == stop).unwrap();
    let list = format!(r#"{{"eos_token_id": [39999, {stop}]}}"#);
    assert_eq!(tokens(&model(Some(&list)).unwrap()), whole[..end]);

    let greedy = model(Some(r#"{"do_sample": false, "eos_token_id": 39999}"#)).unwrap();
    let options = GenerateOptions::of_model(&greedy, sampling).unwrap();
    assert_eq!(*options.sampler.sampling(), Sampling { seed: 7, ..Sampling::greedy() });
    assert!(GenerateOptions::of_model(&greedy, Sampling { top_p: 2.0, ..sampling }).is_err());
}

#[test]
fn defaults_of_sampling() {
    let otherwise = Sampling { temperature: 0.8, top_k: 3, top_p: 0.95, repetition_penalty: 1.1, seed: 4 };
    assert_eq!(parsed("{}"), GenerationConfig::default());
    assert_eq!(parsed("{}").sampling(otherwise), otherwise);
    let all = parsed(
        r#"{"do_sample": true, "temperature": 0.6, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1,
            "_from_model_config": true, "max_length": Infinity, "typical_p": null}"#,
    );
    let expected = Sampling { temperature: 0.6, top_k: 50, top_p: 0.9, repetition_penalty: 1.0, seed: 4 };
    assert_eq!(all.sampling(otherwise), expected);
    assert_eq!(
        parsed(r#"{"top_k": 0, "top_p": null}"#).sampling(otherwise),
        Sampling { top_k: 0, ..otherwise }
    );
    let greedy = parsed(r#"{"do_sample": false, "temperature": 0.6}"#);
    assert_eq!(greedy.sampling(otherwise).temperature, 0.0);
    assert_eq!(load(Reference, "hf_tied_n16_k4").generation_config(), &GenerationConfig::default());
}

#[test]
fn values_that_are_refused() {
    for (json, expected) in [
        ("{", "DIR/generation_config.json: not the expected JSON: EOF"),
        ("[]", "DIR/generation_config.json: not the expected JSON: "),
        (r#"{"temperature": "hot"}"#, "DIR/generation_config.json: not the expected JSON: "),
        (r#"{"temperature": Infinity}"#, "DIR/generation_config.json: not the expected JSON: "),
        (r#"{"top_k": -1}"#, "DIR/generation_config.json: not the expected JSON: "),
        (
            r#"{"temperature": -1}"#,
            "DIR/generation_config.json: `temperature`: expected a number, 0 or more, found -1",
        ),
        (
            r#"{"top_p": 1.5}"#,
            "DIR/generation_config.json: `top_p`: expected a number above 0, at most 1, found 1.5",
        ),
        (
            r#"{"repetition_penalty": 0}"#,
            "DIR/generation_config.json: `repetition_penalty`: expected a number above 0, found 0",
        ),
        (
            r#"{"eos_token_id": ["</s>"]}"#,
            "DIR/generation_config.json: `eos_token_id`: expected a token id below 2^32 or a list of them, \
             found \"</s>\"",
        ),
    ] {
        let error = model(Some(json)).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
