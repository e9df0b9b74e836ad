//! Both published forms of `config.json`, their defaults, and what is refused.

use mamba_kernels::model::{Config, GenerationConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parsed(json: Value) -> Config {
    Config::from_json(&json.to_string()).unwrap()
}

fn refused(json: Value) -> String {
    Config::from_json(&json.to_string()).unwrap_err().to_string()
}

fn hf() -> Value {
    json!({"model_type": "mamba", "hidden_size": 40, "num_hidden_layers": 3, "vocab_size": 50})
}

fn state_spaces() -> Value {
    json!({"d_model": 768, "n_layer": 24, "vocab_size": 50277})
}

/// An object with one more key.
fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

#[test]
fn transformers_form() {
    let config = parsed(hf());
    let sizes = (config.d_model, config.n_layer, config.vocab_size, config.d_inner);
    assert_eq!(sizes, (40, 3, 50, 80));
    assert_eq!((config.d_state, config.d_conv, config.dt_rank), (16, 4, 3)); // "auto" rounds 40 / 16 up
    assert_eq!((config.use_bias, config.use_conv_bias, config.tie_embeddings), (false, true, true));
    assert_eq!((config.norm_eps, config.mixer_norm_eps, &config.eos_token_ids[..]), (1e-5, None, &[][..]));

    assert_eq!(parsed(with(hf(), "expand", json!(3))).d_inner, 120);
    assert_eq!(parsed(with(with(hf(), "expand", json!(16)), "intermediate_size", json!(60))).d_inner, 60);
    assert_eq!(parsed(with(hf(), "time_step_rank", json!("auto"))).dt_rank, 3);
    assert_eq!(parsed(with(hf(), "time_step_rank", json!(7))).dt_rank, 7);
    // what conversions of the original checkpoints leave over decides nothing
    let left_over = with(with(hf(), "d_model", json!(1)), "ssm_cfg", json!({"layer": "Mamba2"}));
    assert_eq!(parsed(left_over), config);
}

#[test]
fn tokens_that_end_a_text() {
    for form in [hf(), state_spaces()] {
        let ids = |value: Value| parsed(with(form.clone(), "eos_token_id", value)).eos_token_ids;
        assert_eq!(ids(json!(9)), [9]);
        assert_eq!(ids(json!([7, 120])), [7, 120]);
        assert_eq!(ids(json!([-1, 7])), [7]);
        for none in [json!(null), json!(-1), json!([])] {
            assert!(ids(none).is_empty());
        }
        for value in [json!("</s>"), json!(1u64 << 32), json!(1.5), json!([1, "x"]), json!([[1]]), json!({})]
        {
            let error = refused(with(form.clone(), "eos_token_id", value));
            assert!(error.starts_with("config: `eos_token_id`: expected a token id below 2^32"), "{error}");
        }
    }
}

/// What Python writes and JSON does not have, as in transformers' `time_step_limit`.
#[test]
fn numbers_that_json_does_not_have() {
    let with_text = |text: &str| {
        let json = hf().to_string();
        Config::from_json(&format!("{}, {text}}}", json.trim_end_matches('}')))
            .map_err(|error| error.to_string())
    };
    for text in [
        r#""time_step_limit": [0.0, Infinity]"#,
        r#""time_step_limit": [ -Infinity,NaN ]"#,
        r#""a": {"b": Infinity}, "c":NaN"#,
        r#""Infinity": Infinity, "a": "Infinity, NaN: [-Infinity]""#,
        r#""time_step_limit": [0.0, {"__float__": "Infinity"}]"#,
    ] {
        assert_eq!(with_text(text).unwrap(), parsed(hf()), "{text}");
    }
    // in a key that is used, and where no number may be
    for (text, part) in [
        (r#""layer_norm_epsilon": Infinity"#, "\"Infinity\", expected f32"),
        (r#""layer_norm_epsilon": NaN"#, "\"NaN\", expected f32"),
        (r#""state_size": -Infinity"#, "\"-Infinity\", expected usize"),
        (r#""time_step_rank": Infinity"#, "found \"Infinity\""),
        (r#""eos_token_id": NaN"#, "found \"NaN\""),
        ("NaN: 1", "config.json: not the expected JSON"),
        (r#""a": Infinit"#, "config.json: not the expected JSON"),
        (r#""a": nan"#, "config.json: not the expected JSON"),
        (r#""a": Infinity1"#, "config.json: not the expected JSON"),
    ] {
        let error = with_text(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

/// `null` is as if the key were absent, everywhere.
#[test]
fn null_is_absent() {
    for key in [
        "ssm_cfg",
        "rms_norm",
        "pad_vocab_size_multiple",
        "tie_embeddings",
        "attn_layer_idx",
        "d_intermediate",
        "eos_token_id",
        "model_type",
    ] {
        assert_eq!(parsed(with(state_spaces(), key, json!(null))), parsed(state_spaces()), "{key}");
    }
    for key in ["layer", "d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias"] {
        assert_eq!(
            parsed(with(state_spaces(), "ssm_cfg", json!({key: null}))),
            parsed(state_spaces()),
            "{key}"
        );
    }
    for key in [
        "intermediate_size",
        "expand",
        "state_size",
        "conv_kernel",
        "time_step_rank",
        "use_bias",
        "use_conv_bias",
        "layer_norm_epsilon",
        "mixer_rms_eps",
        "hidden_act",
        "tie_word_embeddings",
        "eos_token_id",
    ] {
        assert_eq!(parsed(with(hf(), key, json!(null))), parsed(hf()), "{key}");
    }
    assert!(refused(with(hf(), "vocab_size", json!(null))).contains("missing field `vocab_size`"));
}

#[test]
fn falcon_form() {
    let falcon = with(hf(), "model_type", json!("falcon_mamba"));
    assert_eq!(parsed(falcon.clone()).mixer_norm_eps, Some(1e-6));
    assert_eq!(parsed(with(falcon, "mixer_rms_eps", json!(0.01))).mixer_norm_eps, Some(0.01));
    assert_eq!(parsed(with(hf(), "mixer_rms_eps", json!(0.01))).mixer_norm_eps, None);
}

#[test]
fn state_spaces_form() {
    let config = parsed(state_spaces());
    let sizes = (config.d_model, config.n_layer, config.vocab_size, config.d_inner);
    assert_eq!(sizes, (768, 24, 50280, 1536));
    assert_eq!((config.d_state, config.d_conv, config.dt_rank), (16, 4, 48));
    assert_eq!((config.use_bias, config.use_conv_bias, config.tie_embeddings), (false, true, true));
    assert_eq!((config.norm_eps, config.mixer_norm_eps), (1e-5, None));
    assert_eq!(parsed(with(state_spaces(), "pad_vocab_size_multiple", json!(16))).vocab_size, 50288);
    let ssm = json!({"layer": "Mamba1", "dt_rank": "auto", "expand": 1, "use_fast_path": true});
    assert_eq!(parsed(with(state_spaces(), "ssm_cfg", ssm)).d_inner, 768);
}

#[test]
fn other_architectures() {
    let runs = "this crate runs `mamba` (Mamba-1) and `falcon_mamba`";
    let unknown = |json: Value, found: &str| {
        assert_eq!(refused(json), format!("unknown architecture: {found}; {runs}"));
    };
    unknown(with(hf(), "model_type", json!("mamba2")), "`model_type` is \"mamba2\"");
    for json in [with(hf(), "model_type", json!(null)), json!({})] {
        unknown(json, "neither `model_type` nor `d_model` is in the configuration");
    }
    let ssm = json!({"layer": "Mamba2"});
    unknown(with(state_spaces(), "ssm_cfg", ssm), "`ssm_cfg.layer` is \"Mamba2\"");
    let attention = with(state_spaces(), "attn_layer_idx", json!([3, 7]));
    unknown(attention, "`attn_layer_idx` is [3, 7]: it has attention layers");
    unknown(with(state_spaces(), "d_intermediate", json!(9)), "`d_intermediate` is 9: it has MLP layers");
}

#[test]
fn values_that_are_refused() {
    let gelu = with(hf(), "hidden_act", json!("gelu"));
    assert_eq!(refused(gelu), "config: `hidden_act`: expected \"silu\", found \"gelu\"");
    let layer_norm = with(state_spaces(), "rms_norm", json!(false));
    assert_eq!(refused(layer_norm), "config: `rms_norm`: expected true, found false");
    let rank = with(hf(), "time_step_rank", json!("large"));
    assert_eq!(refused(rank), "config: `time_step_rank`: expected a number or \"auto\", found \"large\"");
    for key in
        ["hidden_size", "num_hidden_layers", "vocab_size", "state_size", "conv_kernel", "time_step_rank"]
    {
        for size in [0, 1 << 32, u64::MAX] {
            let error = refused(with(hf(), key, json!(size)));
            assert!(error.starts_with("config: `"), "{key} {size}: {error}");
        }
        for value in [json!(-1), json!(1.5), json!([])] {
            assert!(
                refused(with(hf(), key, value)).starts_with("config.json: not the expected JSON"),
                "{key}"
            );
        }
    }
    let zero = with(state_spaces(), "pad_vocab_size_multiple", json!(0));
    assert!(refused(zero).starts_with("config: `pad_vocab_size_multiple`: expected at least 1"));
    let wide = with(with(hf(), "hidden_size", json!(u32::MAX)), "intermediate_size", json!(u32::MAX));
    let error = refused(wide);
    assert!(error.contains("expected a matrix that fits in memory"), "{error}");
    assert!(refused(with(hf(), "layer_norm_epsilon", json!(-1.0))).contains("`layer_norm_epsilon`"));
    assert!(refused(with(hf(), "layer_norm_epsilon", json!(1e300))).contains("`layer_norm_epsilon`"));
    assert!(refused(json!([])).starts_with("config.json: not the expected JSON"));
    assert!(refused(json!({"model_type": "mamba"})).contains("missing field `hidden_size`"));
}

proptest! {
    /// Whatever bytes of a configuration change: a configuration or an error, never a panic.
    #[test]
    fn no_configuration_panics(
        changes in proptest::collection::vec((0usize..1000, r#"[\[\]{},:"09e.N-]"#), 1..6),
        form in 0..3,
    ) {
        let json = match form {
            0 => with(with(hf(), "time_step_rank", json!("auto")), "eos_token_id", json!([1, 2])),
            1 => with(state_spaces(), "ssm_cfg", json!({"layer": "Mamba1", "d_state": 8, "dt_rank": 3})),
            _ => json!({"eos_token_id": [1, 2], "temperature": 0.5, "top_k": 3, "top_p": 0.25, "do_sample": true}),
        };
        let mut bytes = json.to_string().into_bytes();
        let length = bytes.len();
        changes.iter().for_each(|(at, byte)| bytes[at % length] = byte.as_bytes()[0]);
        let text = String::from_utf8(bytes).unwrap();
        let _ = Config::from_json(&text);
        let _ = GenerationConfig::from_json(&text);
    }
}
