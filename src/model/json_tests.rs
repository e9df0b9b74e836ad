//! Which texts are changed before serde_json reads them, and how.

use super::*;
use proptest::prelude::*;

#[test]
fn numbers_outside_of_strings_are_quoted() {
    for (json, expected) in [
        (r#"{"a": Infinity}"#, r#"{"a": "Infinity"}"#),
        (r#"{"a":-Infinity,"b":NaN}"#, r#"{"a":"-Infinity","b":"NaN"}"#),
        ("[0.0, Infinity]", r#"[0.0, "Infinity"]"#),
        ("[NaN\n,\tNaN , -Infinity\r\n]", "[\"NaN\"\n,\t\"NaN\" , \"-Infinity\"\r\n]"),
        (r#"{"a": {"b": [[NaN]]}}"#, r#"{"a": {"b": [["NaN"]]}}"#),
        (r#"{"é": NaN, "Infinity": Infinity}"#, r#"{"é": "NaN", "Infinity": "Infinity"}"#),
    ] {
        assert_eq!(with_quoted_numbers(json).0, expected);
    }
}

#[test]
fn everything_else_stays() {
    for json in [
        r#"{"a": "Infinity", "b": "x: NaN, -Infinity]"}"#,
        r#"{"a": "\": NaN,", "b": "\\", "c": ": Infinity"}"#,
        r#"{"Infinity": 1, "NaN": [": NaN]"]}"#,
        // none of these is JSON, before or after
        "{Infinity: 1}",
        "{\"a\": 1, NaN: 2}",
        "{\"a\": Infinityx}",
        "{\"a\": InfinityNaN}",
        "{\"a\": 1NaN}",
        "{\"a\": --Infinity}",
        "{\"a\": - Infinity}",
        "{\"a\": +Infinity}",
        "{\"a\": nan}",
        "NaN",
        "{\"a\": NaN",
        "\"",
        "\"\\",
        "",
    ] {
        assert_eq!(with_quoted_numbers(json).0, json);
    }
}

#[test]
fn many_values_are_refused() {
    let of = |count: usize| format!(r#"{{"a": [{}"{}"]}}"#, "0,".repeat(count), ",[{:".repeat(count));
    assert!(object(&of(VALUES - 3), "config.json").is_ok());
    let error = object(&of(VALUES - 2), "config.json").unwrap_err().to_string();
    assert_eq!(error, "config.json: not the expected JSON: more than 262144 keys and values");
}

proptest! {
    /// Strings stay as they are, whatever they contain, and numbers between them are found.
    #[test]
    fn strings_are_not_changed(
        texts in proptest::collection::vec(r#"[a-z"\\:,\[\] ]{0,3}(Infinity|NaN)?[,:"\]]{0,2}"#, 1..5),
    ) {
        let json = serde_json::to_string(&texts).unwrap();
        prop_assert_eq!(with_quoted_numbers(&json).0, &json[..]);
        let strings: Vec<String> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
        let json = format!("[NaN, {}, -Infinity]", strings.join(" , "));
        let parsed: Vec<String> = serde_json::from_str(&with_quoted_numbers(&json).0).unwrap();
        prop_assert_eq!(parsed, [&["NaN".to_string()], &texts[..], &["-Infinity".to_string()]].concat());
    }

    #[test]
    fn no_text_panics(text in r#"[\[\]{}:,"\\ aéNaInfity-]{0,40}"#) {
        let _ = object(&text, "config.json");
    }
}
