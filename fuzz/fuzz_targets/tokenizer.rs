//! `tokenizer.json` and a prompt: the command's own code. An error, never a panic that leaves it.
#![no_main]

#[path = "../../src/bin/mamba/guarded.rs"]
mod guarded;
mod sections;
#[path = "../../src/bin/mamba/text.rs"]
#[allow(dead_code, reason = "the command uses the rest")]
mod text;
#[path = "../../src/bin/mamba/window.rs"]
#[allow(dead_code, reason = "the command uses the rest")]
mod window;

use libfuzzer_sys::fuzz_target;
use sections::sections;
use std::sync::LazyLock;

/// In memory where there is such a place.
static ROOT: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());

fuzz_target!(|data: &[u8]| {
    let [tokenizer, prompt] = sections::<2>(data);
    std::fs::write(ROOT.path().join("tokenizer.json"), tokenizer).unwrap();
    let Ok(codec) = text::Codec::open(Some(ROOT.path()), 1 << 16) else { return };
    let tokens = codec.encode(&prompt[..prompt.len().min(256)]).unwrap_or_default();
    let mut decoder = codec.decoder();
    for token in tokens.into_iter().chain(0..8) {
        let _ = decoder.push(token);
    }
    let _ = decoder.finish();
});
