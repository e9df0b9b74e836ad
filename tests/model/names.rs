//! Heads and embeddings of tied models, and the names under which models are saved.

use crate::support::{INDEX, SINGLE, Tensors, copy_of, load, with_tensors};
use mamba_kernels::model::{Config, Logits, Mamba, ModelError, Note, Scratch, Source};
use mamba_kernels::{Backend, Batch, Reference, WeightFormat};
use safetensors::tensor::Dtype;
use std::fs;

const EMBEDDING: &str = "backbone.embeddings.weight";
const HEAD: &str = "lm_head.weight";

fn logits(model: &Mamba<Reference>) -> Vec<f32> {
    let mut state = model.new_state(1).unwrap();
    let batch = Batch::single(3);
    model.forward(&[1, 2, 3], &batch, &mut state, Logits::All, &mut Scratch::default()).unwrap()
}

/// A folder of golden data, loaded after a change of its tensors.
fn edited(folder: &str, edit: impl FnOnce(&mut Tensors)) -> Result<Mamba<Reference>, ModelError> {
    let dir = copy_of(folder);
    let path = dir.path().join(SINGLE);
    fs::write(&path, with_tensors(&fs::read(&path).unwrap(), edit)).unwrap();
    Mamba::load(Reference, dir.path())
}

fn position(tensors: &Tensors, name: &str) -> usize {
    tensors.iter().position(|tensor| tensor.0 == name).unwrap()
}

/// The tensors with one more: a copy of the embedding, changed, as the head.
fn with_head(tensors: &mut Tensors, change: impl FnOnce(&mut Vec<u8>)) {
    let mut head = tensors[position(tensors, EMBEDDING)].clone();
    head.0 = HEAD.into();
    change(&mut head.3);
    tensors.push(head);
}

#[test]
fn a_stored_head_of_a_tied_model() {
    for folder in ["hf_tied_n16_k4", "hf_f16_n16_k4", "hf_bf16_n16_k4"] {
        let tied = load(Reference, folder);
        assert!(tied.notes().is_empty());
        let equal = edited(folder, |tensors| with_head(tensors, |_| ())).unwrap();
        assert!(equal.notes().is_empty(), "{folder}");
        assert_eq!(logits(&equal), logits(&tied), "{folder}");

        // of zeros: all logits are 0
        let own = edited(folder, |tensors| with_head(tensors, |bytes| bytes.fill(0))).unwrap();
        assert_eq!(own.notes(), [Note::OwnHead], "{folder}");
        assert!(own.notes()[0].to_string().contains("`lm_head.weight`"));
        assert!(logits(&own).iter().all(|&logit| logit == 0.0), "{folder}");
        assert!(own.config().tie_embeddings);

        // of one other number
        let last =
            edited(folder, |tensors| with_head(tensors, |bytes| *bytes.last_mut().unwrap() ^= 1)).unwrap();
        assert_eq!(last.notes(), [Note::OwnHead], "{folder}");
    }
    // the same values in another type are no other head
    let widened = edited("hf_bf16_n16_k4", |tensors| {
        with_head(tensors, |bytes| {
            *bytes = bytes.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]).collect();
        });
        tensors.last_mut().unwrap().1 = Dtype::F32;
    });
    assert!(widened.unwrap().notes().is_empty());
    // one of another shape is an error
    let short = edited("hf_tied_n16_k4", |tensors| {
        with_head(tensors, |bytes| bytes.truncate(39 * 24 * 4));
        tensors.last_mut().unwrap().2[0] = 39;
    });
    assert!(matches!(short, Err(ModelError::Shape { name, .. }) if name == HEAD));
}

#[test]
fn a_tied_model_that_kept_only_its_head() {
    let rename = |tensors: &mut Tensors| {
        let at = position(tensors, EMBEDDING);
        tensors[at].0 = HEAD.into();
    };
    let model = edited("hf_tied_n16_k4", rename).unwrap();
    assert_eq!(logits(&model), logits(&load(Reference, "hf_tied_n16_k4")));
    assert!(model.notes().is_empty());
    // of a model that is not tied, both are needed
    let remove = |name: &'static str| {
        edited("hf_bias_untied_n8_k3", |tensors| tensors.retain(|tensor| tensor.0 != name)).unwrap_err()
    };
    for name in [EMBEDDING, HEAD] {
        assert!(
            matches!(remove(name), ModelError::MissingTensor { name: found, .. } if found.starts_with(name))
        );
    }
}

#[test]
fn other_prefixes() {
    for prefix in ["", "model.", "model.backbone.", "_orig_mod.backbone.", "module.model.backbone."] {
        for folder in ["hf_tied_n16_k4", "falcon_n16_k4", "state_spaces_ssm_cfg_n8_k3"] {
            let expected = logits(&load(Reference, folder));
            let parent =
                prefix.trim_end_matches('.').rsplit_once('.').map_or(String::new(), |(p, _)| format!("{p}."));
            // in a wrapper the head is beside the backbone, or under the same prefix
            for head in [&parent, prefix] {
                let model = edited(folder, |tensors| {
                    for tensor in tensors {
                        tensor.0 = match tensor.0.strip_prefix("backbone.") {
                            Some(name) => format!("{prefix}{name}"),
                            None => format!("{head}{}", tensor.0),
                        };
                    }
                });
                assert_eq!(logits(&model.unwrap()), expected, "{folder} {prefix} {head}");
            }
        }
    }
    // errors have the names of the file
    let missing = edited("hf_tied_n16_k4", |tensors| {
        tensors.retain(|tensor| !tensor.0.ends_with("layers.1.norm.weight"));
        tensors.iter_mut().for_each(|tensor| tensor.0 = tensor.0.replace("backbone.", "model."));
    });
    assert!(
        matches!(missing, Err(ModelError::MissingTensor { name, .. }) if name == "model.layers.1.norm.weight")
    );
}

#[test]
fn several_models_in_a_file() {
    let with = |prefixes: &'static [&'static str]| {
        edited("hf_tied_n16_k4", |tensors| {
            let copies = prefixes.iter().flat_map(|prefix| {
                let name = |name: &str| name.replace("backbone.", prefix);
                tensors.iter().map(move |t| (name(&t.0), t.1, t.2.clone(), t.3.clone())).collect::<Vec<_>>()
            });
            *tensors = copies.collect();
        })
    };
    assert!(with(&["backbone.", "draft."]).is_ok());
    let error = with(&["teacher.", "student."]).unwrap_err();
    assert!(error.to_string().ends_with(
        "expected one model, found several: `student.layers.0.norm.weight`, `teacher.layers.0.norm.weight`"
    ));
}

#[test]
fn prefixes_in_an_index() {
    let dir = copy_of("hf_sharded_n16_k4");
    let expected = logits(&load(Reference, "hf_sharded_n16_k4"));
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().is_some_and(|path| path.contains("model-0000")) {
            let bytes = with_tensors(&fs::read(&path).unwrap(), |tensors| {
                tensors.iter_mut().for_each(|tensor| tensor.0 = tensor.0.replace("backbone.", "model."));
            });
            fs::write(&path, bytes).unwrap();
        }
    }
    let index = fs::read_to_string(dir.path().join(INDEX)).unwrap();
    fs::write(dir.path().join(INDEX), index.replace("backbone.", "model.")).unwrap();
    assert_eq!(logits(&Mamba::load(Reference, dir.path()).unwrap()), expected);
}

/// A source that has everything, a head too, but does not say so: the configuration decides.
#[test]
fn a_source_without_a_list_of_its_tensors() {
    struct Ones;
    impl Source for Ones {
        fn matrix<B: Backend>(
            &self,
            backend: &B,
            names: &[&str],
            [rows, cols]: [usize; 2],
            _: Option<WeightFormat>,
        ) -> Result<B::Weights, ModelError> {
            assert!(names != [HEAD]);
            let values = vec![1.0f32; rows * cols];
            Ok(backend.pack(mamba_kernels::Rows::new(&values[..], rows, cols)?)?)
        }
        fn widened(&self, _: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
            Ok(vec![1.0; shape.iter().product()])
        }
    }
    let config = Config::from_json(r#"{ "d_model": 16, "n_layer": 1, "vocab_size": 40 }"#).unwrap();
    assert!(Mamba::from_source(Reference, config, &Ones).unwrap().notes().is_empty());
}
