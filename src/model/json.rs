//! JSON as Python writes and reads it: bare `Infinity`, `-Infinity` and `NaN`, and `null` for what is absent.
#![forbid(unsafe_code)]

use crate::model::error::ModelError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The numbers that Python writes and JSON does not have.
const NUMBERS: [&str; 3] = ["Infinity", "-Infinity", "NaN"];

/// The most keys and values of a file, about. A parsed value takes up to a hundred times the memory of its text.
const VALUES: usize = 1 << 18;

/// The object that a JSON file holds, without the keys whose value is `null`, in it and in the objects in it.
///
/// A number that JSON does not have becomes the string of its name, so a key that needs a finite number refuses it.
pub(super) fn object(json: &str, file: &str) -> Result<Map<String, Value>, ModelError> {
    let (json, values) = with_quoted_numbers(json);
    if values > VALUES {
        return Err(json_error(file, format!("more than {VALUES} keys and values")));
    }
    let mut object: Map<String, Value> =
        serde_json::from_str(&json).map_err(|source| json_error(file, source))?;
    remove_nulls(&mut object);
    Ok(object)
}

/// The typed form of an object.
pub(super) fn typed<T: DeserializeOwned>(object: Map<String, Value>, file: &str) -> Result<T, ModelError> {
    serde_json::from_value(Value::Object(object)).map_err(|source| json_error(file, source))
}

pub(super) fn json_error(
    file: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ModelError {
    ModelError::Json { file: file.into(), source: source.into() }
}

fn remove_nulls(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    object.values_mut().filter_map(Value::as_object_mut).for_each(remove_nulls);
}

/// The text with [`NUMBERS`] in quotes, if they are outside of strings and where a value may be. And how many
/// characters outside of strings come before a key or a value.
fn with_quoted_numbers(json: &str) -> (Cow<'_, str>, usize) {
    let mut quoted = String::new();
    let mut copied = 0; // bytes of `json` that are in `quoted`
    let mut values = 0;
    let mut before = b','; // the last byte that is not white space
    let mut at = 0;
    while let Some(&byte) = json.as_bytes().get(at) {
        let number = match before {
            b':' | b'[' | b',' => number_at(&json.as_bytes()[at..]),
            _ => None,
        };
        values += usize::from(matches!(byte, b'{' | b'[' | b',' | b':'));
        let end = match byte {
            b'"' => end_of_string(json.as_bytes(), at),
            _ => at + number.map_or(1, str::len),
        };
        if let Some(number) = number {
            quoted.push_str(&json[copied..at]);
            quoted.push('"');
            quoted.push_str(number);
            quoted.push('"');
            copied = end;
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        at = end;
    }
    if copied == 0 {
        return (json.into(), values);
    }
    quoted.push_str(&json[copied..]);
    (quoted.into(), values)
}

/// The number of [`NUMBERS`] that these bytes begin with: a whole word, and not a key.
fn number_at(bytes: &[u8]) -> Option<&'static str> {
    let number = NUMBERS.into_iter().find(|number| bytes.starts_with(number.as_bytes()))?;
    let after = bytes[number.len()..].iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(after, Some(b',' | b']' | b'}')).then_some(number)
}

/// The position after the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    bytes.len().min(at + 1)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
