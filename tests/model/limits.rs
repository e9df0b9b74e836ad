//! What a folder may make the loader read: regular files, up to limits.

use crate::support::{INDEX, SINGLE, copy_of};
use mamba_kernels::Reference;
use mamba_kernels::model::{Mamba, ModelError, State, read_file};
use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;

const MIB: u64 = 1 << 20;
const JSON_FILES: [&str; 3] = ["config.json", "generation_config.json", INDEX];

/// The error of loading a model after `damage`. The model is sharded.
fn error_after(damage: impl FnOnce(&Path)) -> String {
    let dir = copy_of("hf_sharded_n16_k4");
    damage(dir.path());
    let error = Mamba::load(Reference, dir.path()).unwrap_err();
    error.to_string().replace(&dir.path().display().to_string(), "DIR").replace("DIR\\", "DIR/")
}

#[test]
fn json_files_have_a_limit() {
    for file in JSON_FILES {
        // a sparse file, which would take 3 GB of memory
        let sparse = |dir: &Path| File::create(dir.join(file)).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(error_after(sparse), format!("DIR/{file}: longer than the limit of 16777216 bytes"));
    }
    // one of exactly the limit is read
    let dir = copy_of("hf_tied_n16_k4");
    let path = dir.path().join("config.json");
    let mut text = fs::read(&path).unwrap();
    text.resize(16 * MIB as usize, b' ');
    fs::write(&path, &text).unwrap();
    assert!(Mamba::load(Reference, dir.path()).is_ok());
    text.push(b' ');
    fs::write(&path, &text).unwrap();
    assert!(
        matches!(Mamba::load(Reference, dir.path()), Err(ModelError::TooLarge { limit, .. }) if limit == 16 * MIB)
    );
}

#[test]
fn folders_are_no_files() {
    for file in JSON_FILES.into_iter().chain(["model-00001-of-00002.safetensors", SINGLE]) {
        let folder = |dir: &Path| {
            let _ = fs::remove_file(dir.join(file));
            fs::create_dir(dir.join(file)).unwrap();
        };
        assert_eq!(error_after(folder), format!("DIR/{file}: not a regular file"));
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(read_file(&dir.path().join("none"), 1).unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn links_pipes_and_devices() {
    use std::os::unix::fs::symlink;
    for file in JSON_FILES.into_iter().chain(["model-00001-of-00002.safetensors", SINGLE]) {
        let link = |target: &'static str| {
            move |dir: &Path| {
                let _ = fs::remove_file(dir.join(file));
                symlink(target, dir.join(file)).unwrap();
            }
        };
        assert_eq!(
            error_after(link("blobs/gone")),
            format!("DIR/{file}: a symbolic link to `blobs/gone`, which does not exist")
        );
        // an endless device, and a link to itself
        assert_eq!(error_after(link("/dev/zero")), format!("DIR/{file}: not a regular file"));
        assert!(error_after(link(file)).starts_with(&format!("DIR/{file}: ")));
        // opening a pipe would wait for its other end
        let pipe = |dir: &Path| {
            let _ = fs::remove_file(dir.join(file));
            let status = std::process::Command::new("mkfifo").arg(dir.join(file)).status().unwrap();
            assert!(status.success());
        };
        assert_eq!(error_after(pipe), format!("DIR/{file}: not a regular file"));
    }
    // a link to a file is as good as the file
    let dir = copy_of("hf_tied_n16_k4");
    for file in ["config.json", SINGLE] {
        let blob = format!("blob of {file}");
        fs::rename(dir.path().join(file), dir.path().join(&blob)).unwrap();
        symlink(&blob, dir.path().join(file)).unwrap();
    }
    let model = Mamba::load(Reference, dir.path()).unwrap();

    let saved = dir.path().join("state");
    symlink("gone", &saved).unwrap();
    let error = State::load(model.backend(), model.config(), &saved).err().unwrap();
    assert!(matches!(error, ModelError::DanglingLink { .. }), "{error}");
}

/// The error of a weight file of only a header.
fn error_of_header(json: &str) -> String {
    let config = r#"{"d_model": 16, "n_layer": 2, "vocab_size": 40}"#;
    let bytes = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    Mamba::from_bytes(Reference, config, &bytes).unwrap_err().to_string()
}

#[test]
fn headers_have_limits() {
    let tensors = |count: usize| {
        let mut json = String::from("{");
        for i in 0..count {
            write!(json, r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}},"#).unwrap();
        }
        json.pop();
        json + "}"
    };
    let shape = |dimensions: usize| {
        let shape = vec!["1"; dimensions].join(",");
        format!(r#"{{"a":{{"dtype":"F32","shape":[0,{shape}],"data_offsets":[0,0]}}}}"#)
    };
    let metadata = |entries: usize| {
        let entries: Vec<String> = (0..entries).map(|i| format!(r#""{i}":"""#)).collect();
        format!(r#"{{"__metadata__":{{{}}}}}"#, entries.join(","))
    };
    // up to the limits the header is read, and what is missing is a tensor of the model
    for json in [tensors(65536), shape(15), metadata(65536)] {
        let error = error_of_header(&json);
        assert!(error.starts_with("tensor `backbone.embeddings.weight` or"), "{error}");
    }
    let limit = |what: &str| format!("model.safetensors: the header has more than {what}");
    assert_eq!(error_of_header(&tensors(65537)), limit("65536 tensors"));
    assert_eq!(error_of_header(&shape(16)), limit("16 dimensions of a tensor"));
    assert_eq!(error_of_header(&shape(4_000_000)), limit("16 dimensions of a tensor"));
    assert_eq!(error_of_header(&metadata(65537)), limit("65536 entries of metadata"));
    assert_eq!(error_of_header(&tensors(300_000)), limit("16777216 bytes"));
}

#[test]
fn what_a_header_must_be() {
    let tensor = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let format = |json: &str| {
        let error = error_of_header(json);
        error
            .split_once("not a valid safetensors file: ")
            .unwrap_or_else(|| panic!("{json}: {error}"))
            .1
            .to_string()
    };
    assert_eq!(format(&format!(r#"{{"a":{tensor},"a":{tensor}}}"#)), "the header has the tensor `a` twice");
    for json in [
        r#"{"a":{"dtype":"F32","shape":[0]}}"#,
        r#"{"a":{"dtype":"F33","shape":[0],"data_offsets":[0,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0]}}"#,
        r#"{"a":[1]}"#,
        r#"{"__metadata__":{"a":1}}"#,
        r#"{"__metadata__":[]}"#,
        "{} x",
        "[]",
        "",
    ] {
        assert!(format(json).starts_with("invalid JSON in header"), "{json}");
    }
    // other keys are ignored, and metadata may be null
    let other = r#"{"__metadata__":null,"a":{"x":[[1],{}],"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    assert!(error_of_header(other).starts_with("tensor `backbone"), "{}", error_of_header(other));
    // offsets near the end of what 64 bits count
    let (half, end) = (1u64 << 60, u64::MAX);
    let mut json = String::from("{");
    for i in 0..16 {
        let (from, to) = (i * half, if i == 15 { end } else { (i + 1) * half });
        write!(json, r#""{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}},"#, to - from)
            .unwrap();
    }
    json.pop();
    let error = error_of_header(&(json + "}"));
    assert!(error.contains("expected 18446744073709551615 bytes by its header"), "{error}");
}
