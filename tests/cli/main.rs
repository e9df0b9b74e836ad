//! The `mamba` command as a user meets it.
#![cfg(feature = "cli")]

mod models;
mod prompts;

use safetensors::SafeTensors;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command whose standard input is empty.
fn mamba(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mamba"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    mamba(arguments).output().unwrap()
}

/// Runs with `input` piped in.
fn run_with(input: &[u8], arguments: &[&str]) -> Output {
    let mut command = mamba(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Standard output of a run that must succeed.
fn text(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs arguments that must fail with this exit code and a message that has all of `parts`.
fn fails(arguments: &[&str], code: i32, parts: &[&str]) {
    let output = run(arguments);
    let message = errors(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(message.starts_with("error: "), "{arguments:?}: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

const SHORT: [&str; 3] = ["generate", "--max-tokens", "40"];

/// The arguments of a short text, and more.
fn short<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SHORT[..], more].concat()
}

#[test]
fn text_and_nothing_else_goes_to_standard_output() {
    let output = run(&short(&["--prompt", "Hello"]));
    let report = errors(&output);
    assert!(report.contains("prompt: 5 tokens") && report.contains("generated: 40 tokens"), "{report}");
    assert!(!report.contains('\x1b'), "{report}");
    let whole = text(output);
    assert!(whole.starts_with("Hello") && whole.ends_with('\n'), "{whole}");

    let new = text(run(&short(&["--prompt", "Hello", "--no-echo"])));
    assert_eq!(format!("Hello{new}"), whole);
}

#[test]
fn the_seed_decides_the_text() {
    let with = |more: &[&str]| text(run(&short(more)));
    let default = with(&[]);
    assert!(default.starts_with("It was a"), "{default}");
    assert_eq!(default, with(&["--seed", "1"]));
    assert_ne!(default, with(&["--seed", "2"]));
    assert_eq!(with(&["--temperature", "0"]), with(&["--top-k", "1", "--seed", "2"]));
}

#[test]
fn a_prompt_from_standard_input() {
    let expected = text(run(&short(&["--prompt", "Once"])));
    assert_eq!(text(run_with(b"Once\n", &SHORT)), expected);
    assert_eq!(text(run_with(b"Once\r\n", &SHORT)), expected);
    assert_eq!(text(run_with(b"Once", &short(&["--prompt", "-"]))), expected);
    let two_lines = text(run_with(b"Once\n\n", &SHORT));
    assert!(two_lines.starts_with("Once\n"), "{two_lines}");
    let invalid = text(run_with(b"a\xff\xc3", &["generate", "--max-tokens", "0"]));
    assert_eq!(invalid, "a\u{fffd}\u{fffd}\n");
}

#[test]
fn an_empty_prompt_is_a_newline() {
    let from_nothing = text(run(&short(&["--prompt", ""])));
    let from_newline = text(run(&short(&["--prompt", "\n"])));
    assert_eq!(format!("\n{from_nothing}"), from_newline);
    assert_eq!(from_nothing, text(run_with(b"", &short(&["--prompt", "-"]))));
}

#[test]
fn a_long_prompt_and_no_new_text() {
    let prompt = "word ".repeat(200);
    let output = text(run_with(prompt.as_bytes(), &["generate", "--max-tokens", "0"]));
    assert_eq!(output, format!("{prompt}\n"));
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    for arguments in [&SHORT[..], &["info"], &["--help"]] {
        let mut command = mamba(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(errors(&output), "", "{arguments:?}");
    }
}

#[test]
fn wrong_arguments() {
    for (option, value) in [
        ("--temperature", "-1"),
        ("--temperature", "inf"),
        ("--top-p", "0"),
        ("--top-p", "1.5"),
        ("--repetition-penalty", "0"),
        ("--threads", "0"),
        ("--max-tokens", "many"),
    ] {
        fails(&["generate", option, value], 2, &[option, value]);
    }
    fails(&["logits", "--tokens", "1,x", "--out", "unused"], 2, &["--tokens", "'x'"]);
    fails(&["logits", "--tokens", "", "--out", "unused"], 2, &["--tokens"]);
    fails(&["logits", "--tokens", "1"], 2, &["--out"]);
    let logits = |more: &[&'static str]| [&["logits", "--tokens", "1,2,3", "--out", "unused"], more].concat();
    fails(&logits(&["--split", "2,2"]), 2, &["--split adds up to 4, but there are 3 tokens"]);
    fails(&logits(&["--split", "3,0"]), 2, &["--split has a piece of length 0"]);
    fails(&["generate", "--backend", "gpu"], 2, &["gpu", "cpu", "reference"]);
    fails(&["generate", "--backend", "reference", "--threads", "2"], 2, &["--threads", "reference"]);
    fails(&["generate", "--backend", "reference", "--bf16-products"], 2, &["--bf16-products", "reference"]);
}

#[test]
fn errors_while_running() {
    fails(&["generate", "--model", "no/such/dir"], 1, &["no/such/dir"]);
    fails(&["generate", "--model", "tests/data/hf_tied_n16_k4"], 1, &["tokenizer.json", "vocabulary of 40"]);
    fails(&["logits", "--tokens", "1,256", "--out", "unused"], 1, &["256"]);
    fails(&["logits", "--tokens", "1", "--out", "no/such/dir/file"], 1, &["no/such/dir/file"]);
    for backend in mamba_kernels::list() {
        if let Err(reason) = backend.status {
            fails(&["generate", "--backend", backend.name], 1, &[backend.name, &reason]);
        }
    }
}

#[test]
fn info_lists_the_backends() {
    let info = text(run(&["info"]));
    assert!(info.contains(env!("CARGO_PKG_VERSION")), "{info}");
    for backend in mamba_kernels::list() {
        let line = info.lines().find(|line| line.starts_with(backend.name)).unwrap();
        let what = match &backend.status {
            Ok(description) => description,
            Err(reason) => reason,
        };
        assert!(line.contains(what.as_str()), "{line}");
        assert_eq!(line.contains("(default)"), backend.name == mamba_kernels::best(), "{line}");
    }
}

#[test]
fn info_shows_caches_and_what_is_emulated() {
    for isa in mamba_kernels::cpu::Isa::available() {
        let info = text(mamba(&["info"]).env(mamba_kernels::cpu::ISA_VARIABLE, isa.name()).output().unwrap());
        let cpu = mamba_kernels::Cpu::builder().isa(isa).build().unwrap();
        assert!(info.contains(&format!("caches: {}", cpu.caches())), "{info}");
        let emulated = info.contains("--bf16-products: emulated");
        assert_eq!(emulated, cpu.emulates(mamba_kernels::WeightFormat::Bf16Pairs), "{info}");
    }
}

#[test]
fn emulated_products_are_announced() {
    let run = |isa: &str, more: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("logits.safetensors");
        let arguments = [&["logits", "--tokens", "1,2", "--out", out.to_str().unwrap()], more].concat();
        let output = mamba(&arguments).env(mamba_kernels::cpu::ISA_VARIABLE, isa).output().unwrap();
        let errors = errors(&output);
        assert_eq!(text(output), "");
        errors.lines().filter(|line| line.starts_with("warning: ")).count()
    };
    for isa in mamba_kernels::cpu::Isa::available() {
        let cpu = mamba_kernels::Cpu::builder().isa(isa).build().unwrap();
        let emulates = cpu.emulates(mamba_kernels::WeightFormat::Bf16Pairs);
        assert_eq!(run(isa.name(), &["--bf16-products"]), usize::from(emulates), "{isa}");
        assert_eq!(run(isa.name(), &[]), 0, "{isa}");
    }
}

/// The logits that the command writes with these arguments, and their shape.
fn logits(dir: &Path, arguments: &[&str]) -> (Vec<f32>, Vec<usize>) {
    let out = dir.join("logits.safetensors");
    let arguments = [&["logits", "--out", out.to_str().unwrap()], arguments].concat();
    assert_eq!(text(run(&arguments)), "");
    let bytes = std::fs::read(&out).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), ["logits"]);
    let tensor = file.tensor("logits").unwrap();
    let values = tensor.data().chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap()));
    (values.collect(), tensor.shape().to_vec())
}

#[test]
fn logits_of_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let model = "tests/data/hf_tied_n16_k4";
    let bytes = std::fs::read(Path::new(model).join("expected.safetensors"));
    let bytes = bytes.unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let tokens = expected.tensor("tokens").unwrap();
    let length = tokens.shape()[1];
    let tokens: Vec<String> = (tokens.data().chunks_exact(8).take(length))
        .map(|token| i64::from_le_bytes(token.try_into().unwrap()).to_string())
        .collect();
    let tokens = tokens.join(",");
    let expected = expected.tensor("logits").unwrap();
    let expected = expected.data().chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap()));
    let expected: Vec<f32> = expected.take(length * 40).collect();

    let split = format!("1,3,{}", length - 4);
    for more in [&[][..], &["--split", &split]] {
        for backend in ["cpu", "reference"] {
            let arguments = ["--model", model, "--tokens", &tokens, "--backend", backend];
            let (found, shape) = logits(dir.path(), &[&arguments, more].concat());
            assert_eq!(shape, [length, 40]);
            let close = |(found, expected): (&f32, &f32)| (found - expected).abs() < 1e-4;
            assert!(found.iter().zip(&expected).all(close), "{backend} {more:?}");
        }
    }
}

#[test]
fn a_split_changes_no_bit_of_the_logits() {
    let dir = tempfile::tempdir().unwrap();
    let file = |more: &[&str]| {
        logits(dir.path(), &[&["--tokens", "73,116,32,119,97,115", "--backend", "cpu"], more].concat());
        std::fs::read(dir.path().join("logits.safetensors")).unwrap()
    };
    let whole = file(&[]);
    for split in ["6", "1,5", "2,3,1", "1,1,1,1,1,1"] {
        assert!(file(&["--split", split]) == whole, "{split}");
    }
    assert!(file(&["--threads", "1"]) == whole && file(&["--threads", "3"]) == whole);
    let fast = file(&["--bf16-products"]);
    assert!(fast != whole, "the mode does nothing");
    assert!(file(&["--bf16-products", "--threads", "1", "--split", "2,3,1"]) == fast);
}
