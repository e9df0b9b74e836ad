//! Sharded checkpoints: each tensor comes from the file in which the index says it is.

use crate::support::{INDEX, Tensors, copy_of, with_tensors};
use mamba_kernels::model::{FileAccess, LoadOptions, Logits, Mamba, ModelError, Scratch};
use mamba_kernels::{Batch, Reference};
use serde_json::Value;
use std::fs;
use std::path::Path;

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const NORM: &str = "backbone.norm_f.weight"; // in the second

fn logits(dir: &Path) -> Result<Vec<f32>, ModelError> {
    let model = Mamba::load(Reference, dir)?;
    let mut state = model.new_state(1)?;
    model.forward(&[1, 2, 3], &Batch::single(3), &mut state, Logits::All, &mut Scratch::default())
}

fn edit_index(dir: &Path, edit: impl FnOnce(&mut Value)) {
    let path = dir.join(INDEX);
    let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut index);
    fs::write(path, index.to_string()).unwrap();
}

fn edit_shard(dir: &Path, shard: &str, edit: impl FnOnce(&mut Tensors)) {
    let path = dir.join(shard);
    fs::write(&path, with_tensors(&fs::read(&path).unwrap(), edit)).unwrap();
}

/// The tensors of a shard, with other values.
fn stale(dir: &Path, shard: &str) -> Tensors {
    let mut copy = Tensors::new();
    edit_shard(dir, shard, |tensors| copy = tensors.clone());
    copy.iter_mut().for_each(|tensor| tensor.3.fill(0));
    copy
}

#[test]
fn stale_copies_in_other_shards_are_not_read() {
    let dir = copy_of("hf_sharded_n16_k4");
    let expected = logits(dir.path()).unwrap();
    let (old_first, old_second) = (stale(dir.path(), FIRST), stale(dir.path(), SECOND));
    edit_shard(dir.path(), FIRST, |tensors| tensors.extend(old_second));
    edit_shard(dir.path(), SECOND, |tensors| tensors.extend(old_first));
    assert_eq!(logits(dir.path()).unwrap(), expected);

    // an overlay: a file that sorts after the others, and to which the index was changed
    edit_shard(dir.path(), SECOND, |tensors| {
        let norm = tensors.iter().find(|tensor| tensor.0 == NORM).unwrap().clone();
        let doubled = norm
            .3
            .chunks_exact(4)
            .flat_map(|value| (2.0 * f32::from_le_bytes(value.try_into().unwrap())).to_le_bytes());
        let overlay = with_tensors(&empty(), |tensors| {
            tensors.push((norm.0.clone(), norm.1, norm.2.clone(), doubled.collect()));
        });
        fs::write(dir.path().join("overlay.safetensors"), overlay).unwrap();
    });
    edit_index(dir.path(), |index| index["weight_map"][NORM] = "overlay.safetensors".into());
    let doubled: Vec<f32> = expected.iter().map(|logit| 2.0 * logit).collect();
    assert_eq!(logits(dir.path()).unwrap(), doubled);
}

/// A weight file without tensors.
fn empty() -> Vec<u8> {
    [&2u64.to_le_bytes()[..], b"{}"].concat()
}

#[test]
fn a_tensor_that_is_not_where_the_index_says() {
    let error = |dir: &Path| {
        let error = logits(dir).unwrap_err().to_string();
        error.replace(&dir.display().to_string(), "DIR").replace("DIR\\", "DIR/")
    };
    let dir = copy_of("hf_sharded_n16_k4");
    edit_index(dir.path(), |index| index["weight_map"][NORM] = FIRST.into());
    let expected = format!("tensor `{NORM}` is missing in DIR/{FIRST}, where DIR/{INDEX} says it is");
    assert_eq!(error(dir.path()), expected);

    // one that the index does not name does not exist, though a shard has it
    edit_index(dir.path(), |index| _ = index["weight_map"].as_object_mut().unwrap().remove(NORM));
    assert_eq!(error(dir.path()), format!("tensor `{NORM}` is missing in DIR/{INDEX}"));

    // the index of a tied model may name a head that was dropped as a copy of the embedding
    let dir = copy_of("hf_sharded_n16_k4");
    let expected = logits(dir.path()).unwrap();
    edit_index(dir.path(), |index| index["weight_map"]["lm_head.weight"] = SECOND.into());
    assert_eq!(logits(dir.path()).unwrap(), expected);
}

/// Files that are read may change, and shrink, while the model is made and afterwards; the model is the same.
#[test]
fn files_may_be_read_instead_of_mapped() {
    for name in ["hf_sharded_n16_k4", "hf_tied_n16_k4"] {
        let dir = copy_of(name);
        let options = LoadOptions { access: FileAccess::Read, ..LoadOptions::default() };
        let model = Mamba::load_with(Reference, dir.path(), options).unwrap();
        let mut state = model.new_state(1).unwrap();
        let read =
            model.forward(&[1, 2, 3], &Batch::single(3), &mut state, Logits::All, &mut Scratch::default());
        assert_eq!(read.unwrap(), logits(dir.path()).unwrap());
        let weights = dir.path().join(if name.contains("sharded") { SECOND } else { "model.safetensors" });
        fs::write(&weights, &fs::read(&weights).unwrap()[..1000]).unwrap();
        let error = Mamba::load_with(Reference, dir.path(), options).unwrap_err();
        assert!(matches!(error, ModelError::FileLength { .. } | ModelError::Format { .. }), "{error}");
    }
}
