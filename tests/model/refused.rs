//! Checkpoints that are damaged, hostile or of another architecture: each error names what is wrong.

use crate::support::{INDEX, SINGLE, Tensors, copy_of, data, with_header, with_tensors};
use mamba_kernels::Reference;
use mamba_kernels::model::{Mamba, ModelError};
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The error of loading a copy of a folder of golden data after `damage`.
fn error_after(folder: &str, damage: impl FnOnce(&Path)) -> String {
    let dir = copy_of(folder);
    damage(dir.path());
    let error = Mamba::load(Reference, dir.path()).unwrap_err();
    error.to_string().replace(&dir.path().display().to_string(), "DIR").replace("DIR\\", "DIR/")
}

fn edit_weights(dir: &Path, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let path = dir.join(SINGLE);
    fs::write(&path, edit(fs::read(&path).unwrap())).unwrap();
}

#[test]
fn missing_and_wrong_tensors() {
    let after = |edit: fn(&mut Tensors)| {
        error_after("hf_bias_untied_n8_k3", |dir| edit_weights(dir, |bytes| with_tensors(&bytes, edit)))
    };
    for name in
        ["backbone.layers.2.mixer.dt_proj.bias", "backbone.layers.0.mixer.in_proj.bias", "lm_head.weight"]
    {
        let error = error_after("hf_bias_untied_n8_k3", |dir| {
            edit_weights(dir, |bytes| with_tensors(&bytes, |tensors| tensors.retain(|t| t.0 != name)));
        });
        assert_eq!(error, format!("tensor `{name}` is missing in DIR/model.safetensors"));
    }
    assert_eq!(
        after(|tensors| tensors.retain(|t| !t.0.contains("embeddings"))),
        "tensor `backbone.embeddings.weight` or `backbone.embedding.weight` is missing in DIR/model.safetensors"
    );
    assert_eq!(
        after(|tensors| {
            let found = tensors.iter_mut().find(|t| t.0 == "backbone.layers.1.mixer.conv1d.weight");
            found.unwrap().2 = vec![40, 3];
        }),
        "tensor `backbone.layers.1.mixer.conv1d.weight` in DIR/model.safetensors: \
         expected the shape [40, 1, 3], found [40, 3]"
    );
    assert_eq!(
        after(|tensors| {
            let found = tensors.iter_mut().find(|t| t.0 == "backbone.norm_f.weight");
            found.unwrap().1 = Dtype::I32;
        }),
        "tensor `backbone.norm_f.weight` in DIR/model.safetensors: \
         expected the type F32, F16 or BF16, found I32"
    );
    assert_eq!(
        after(|tensors| {
            let found = tensors.iter_mut().find(|t| t.0 == "backbone.layers.0.mixer.in_proj.weight").unwrap();
            (found.1, found.3) = (Dtype::F64, vec![0; 2 * found.3.len()]);
        }),
        "tensor `backbone.layers.0.mixer.in_proj.weight` in DIR/model.safetensors: \
         expected the type F32, F16 or BF16, found F64"
    );
}

#[test]
fn damaged_weight_files() {
    let after =
        |edit: &dyn Fn(Vec<u8>) -> Vec<u8>| error_after("hf_tied_n16_k4", |dir| edit_weights(dir, edit));
    let format =
        |bytes: usize| format!("DIR/model.safetensors ({bytes} bytes): not a valid safetensors file: ");
    let header = |edit: &dyn Fn(&mut Value)| {
        after(&|bytes| with_header(&bytes, edit)).rsplit_once("safetensors file: ").unwrap().1.to_string()
    };

    assert_eq!(after(&|_| Vec::new()), format(0) + "header too small");
    assert_eq!(after(&|bytes| bytes[..7].to_vec()), format(7) + "header too small");
    assert_eq!(after(&|bytes| bytes[..100].to_vec()), format(100) + "invalid header length");
    let length = "DIR/model.safetensors: expected 56576 bytes by its header, found";
    let reason = "the file is truncated or damaged";
    assert_eq!(after(&|bytes| bytes[..40000].to_vec()), format!("{length} 40000: {reason}"));
    assert_eq!(after(&|bytes| [bytes, vec![0]].concat()), format!("{length} 56577: {reason}"));
    for huge in [u64::MAX, u64::MAX - 8, 1 << 40, (16 << 20) + 1] {
        let edited = after(&|bytes| [&huge.to_le_bytes(), &bytes[8..]].concat());
        assert_eq!(edited, format(56576) + "invalid header length");
    }
    assert!(after(&|_| b"\x02\0\0\0\0\0\0\0\xff\xff".to_vec()).contains("invalid UTF-8 in header"));
    assert!(after(&|_| b"\x02\0\0\0\0\0\0\0[]".to_vec()).contains("invalid JSON in header"));

    let norm = "backbone.norm_f.weight";
    let outside = header(&|header| header[norm]["data_offsets"] = json!([60000, 60096]));
    assert_eq!(outside, format!("invalid offset for tensor `{norm}`"));
    let overlap = header(&|header| header[norm]["data_offsets"] = json!([0, 96]));
    assert!(overlap.starts_with("invalid offset for tensor `"), "{overlap}");
    let reversed = header(&|header| header[norm]["data_offsets"] = json!([96, 0]));
    assert!(reversed.starts_with("invalid offset for tensor `"), "{reversed}");
    let shape = header(&|header| header[norm]["shape"] = json!([u64::MAX, 2]));
    assert_eq!(shape, "overflow computing buffer size from shape and/or element type");
    let shape = header(&|header| header[norm]["shape"] = json!([25]));
    assert_eq!(shape, "invalid shape, data type, or offset for tensor");
}

#[test]
fn shards_and_folders() {
    let index = |edit: &dyn Fn(&mut Value)| {
        error_after("hf_sharded_n16_k4", |dir| {
            let path = dir.join(INDEX);
            let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            edit(&mut value);
            fs::write(&path, value.to_string()).unwrap();
        })
    };
    let norm = "backbone.norm_f.weight";
    for shard in ["../x", "/etc/passwd", "..", ".", "", "a/../../x", "sub/model.safetensors", "x/"] {
        assert_eq!(
            index(&|index| index["weight_map"][norm] = shard.into()),
            format!("DIR/{INDEX}: the shard name `{shard}` is not the name of a file next to the index")
        );
    }
    let missing =
        format!("DIR/{INDEX}: the shard `model-00002-of-00002.safetensors` that the index names is missing");
    let remove = |dir: &Path| fs::remove_file(dir.join("model-00002-of-00002.safetensors")).unwrap();
    assert_eq!(error_after("hf_sharded_n16_k4", remove), missing);
    assert!(index(&|index| *index = json!([])).starts_with(&format!("DIR/{INDEX}: not the expected JSON")));
    let only = "`backbone.embeddings.weight` or `backbone.embedding.weight`";
    assert_eq!(
        index(&|index| index["weight_map"] = json!({})),
        format!("tensor {only} is missing in DIR/{INDEX}")
    );

    let empty = tempfile::tempdir().unwrap();
    let error = Mamba::load(Reference, empty.path()).unwrap_err();
    assert!(matches!(&error, ModelError::Io { file, .. } if file.ends_with("config.json")), "{error}");
    assert!(error.to_string().ends_with("config.json: no such file"), "{error}");
    assert!(Mamba::load(Reference, &empty.path().join("none")).is_err());
    let weights = |dir: &Path| fs::remove_file(dir.join(SINGLE)).unwrap();
    assert_eq!(
        error_after("hf_tied_n16_k4", weights),
        "DIR: neither `model.safetensors` nor `model.safetensors.index.json` exists"
    );
    let folder = |dir: &Path| {
        weights(dir);
        fs::create_dir(dir.join(SINGLE)).unwrap();
    };
    assert_eq!(error_after("hf_tied_n16_k4", folder), "DIR/model.safetensors: not a regular file");
    let broken = error_after("hf_tied_n16_k4", |dir| fs::write(dir.join("config.json"), "{").unwrap());
    assert!(broken.starts_with("DIR/config.json: not the expected JSON: EOF"), "{broken}");
}

#[test]
fn tensors_need_not_be_aligned() {
    let (config, bytes) = bytes_of("hf_bf16_n16_k4");
    let batch = mamba_kernels::Batch::single(3);
    let run = |bytes: &[u8]| {
        let model = Mamba::from_bytes(Reference, &config, bytes).unwrap();
        let mut state = model.new_state(1).unwrap();
        let all = mamba_kernels::model::Logits::All;
        model.forward(&[1, 2, 3], &batch, &mut state, all, &mut Default::default()).unwrap()
    };
    let expected = run(&bytes);
    for shift in 1..8 {
        let shifted = [&vec![0; shift][..], &bytes].concat();
        assert_eq!(run(&shifted[shift..]), expected, "{shift}");
    }
}

fn bytes_of(folder: &str) -> (String, Vec<u8>) {
    let dir = data().join(folder);
    (fs::read_to_string(dir.join("config.json")).unwrap(), fs::read(dir.join(SINGLE)).unwrap())
}

proptest! {
    /// Whatever bytes of the header change and wherever the file ends: a model or an error, never a panic.
    #[test]
    fn no_header_panics(
        changes in proptest::collection::vec((0usize..2144, any::<u8>()), 1..6),
        end in 0usize..60_000,
        cut in any::<bool>(),
    ) {
        let (config, mut bytes) = bytes_of("hf_tied_n16_k4");
        changes.iter().for_each(|&(at, value)| bytes[at] = value);
        if cut {
            bytes.truncate(end);
        }
        let _ = Mamba::from_bytes(Reference, &config, &bytes);
    }
}
