//! The drop-in model against candle's own, with the same weights.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::mamba as theirs;
use mamba_kernels::model::{Config, Logits, Mamba, Scratch, State};
use mamba_kernels::{Batch, Cpu, Reference, Slot};
use mamba_kernels_candle as ours;
use std::collections::HashMap;
use tolerance::Roundings;

#[allow(dead_code)] // only the logits are compared here
#[path = "../../../tests/model/tolerance.rs"]
mod tolerance;

const D_MODEL: usize = 48;
const N_LAYER: usize = 3;
const VOCAB: usize = 61; // padded to 64

/// Weights by their names below `backbone`, of the sizes that training gives them.
fn weights(dtype: DType) -> Result<HashMap<String, Tensor>> {
    let (d_inner, d_state, d_conv, dt_rank, device) = (2 * D_MODEL, 16, 4, D_MODEL.div_ceil(16), Device::Cpu);
    let mut seed = 1u32;
    let mut draw = |shape: &[usize], scale: f32, mean: f32| {
        let values = (0..shape.iter().product::<usize>()).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            mean + scale * ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0)
        });
        Tensor::from_vec(values.collect::<Vec<_>>(), shape, &device)?.to_dtype(dtype)
    };
    let linear = |inputs: usize| 1.0 / (inputs as f32).sqrt();
    let mut tensors = HashMap::new();
    tensors.insert("embedding.weight".to_string(), draw(&[64, D_MODEL], 1.0, 0.0)?);
    tensors.insert("norm_f.weight".to_string(), draw(&[D_MODEL], 0.2, 1.0)?);
    for layer in 0..N_LAYER {
        let mut insert = |name: &str, tensor| tensors.insert(format!("layers.{layer}.{name}"), tensor);
        insert("norm.weight", draw(&[D_MODEL], 0.2, 1.0)?);
        insert("mixer.in_proj.weight", draw(&[2 * d_inner, D_MODEL], linear(D_MODEL), 0.0)?);
        insert("mixer.conv1d.weight", draw(&[d_inner, 1, d_conv], 0.5, 0.0)?);
        insert("mixer.conv1d.bias", draw(&[d_inner], 0.2, 0.0)?);
        insert("mixer.x_proj.weight", draw(&[dt_rank + 2 * d_state, d_inner], linear(d_inner), 0.0)?);
        insert("mixer.dt_proj.weight", draw(&[d_inner, dt_rank], linear(dt_rank), 0.0)?);
        insert("mixer.dt_proj.bias", draw(&[d_inner], 1.0, -3.0)?);
        insert("mixer.A_log", draw(&[d_inner, d_state], 1.3, 1.4)?);
        insert("mixer.D", draw(&[d_inner], 0.3, 1.0)?);
        insert("mixer.out_proj.weight", draw(&[D_MODEL, d_inner], linear(d_inner), 0.0)?);
    }
    Ok(tensors)
}

fn configs() -> (theirs::Config, ours::Config) {
    let theirs =
        theirs::Config { d_model: D_MODEL, n_layer: N_LAYER, vocab_size: VOCAB, pad_vocab_size_multiple: 8 };
    let ours =
        ours::Config { d_model: D_MODEL, n_layer: N_LAYER, vocab_size: VOCAB, pad_vocab_size_multiple: 8 };
    (theirs, ours)
}

fn token(sequence: usize, position: usize) -> u32 {
    ((sequence * 31 + position * 17 + position * position) % VOCAB) as u32
}

/// The same weights in the oracle, which computes in f64.
fn oracle() -> Result<Mamba<Reference>> {
    let json = format!(
        r#"{{"d_model": {D_MODEL}, "n_layer": {N_LAYER}, "vocab_size": {VOCAB}, "pad_vocab_size_multiple": 8,
            "ssm_cfg": {{}}, "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true}}"#
    );
    let named = weights(DType::F32)?.into_iter().map(|(name, tensor)| (format!("backbone.{name}"), tensor));
    let file = std::env::temp_dir().join(format!("mamba-kernels-candle-{}.safetensors", std::process::id()));
    candle_core::safetensors::save(&named.collect::<HashMap<_, _>>(), &file)?;
    let bytes = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    Mamba::from_bytes(Reference, &json, &bytes).map_err(candle_core::Error::wrap)
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// candle's logits and this crate's, each against the oracle's.
///
/// The bound is that of the models' own tests, argued there: both round at each step of the same sums, and at most 3 times
/// in each elementary function (candle's softplus is log(1 + exp x), its silu x / (1 + exp -x)). The oracle's roundings are
/// on the path of the difference as well.
#[test]
fn logits_are_candles_token_by_token() -> Result<()> {
    let (their_config, our_config) = configs();
    let (batch, device) = (3, Device::Cpu);
    let vb = VarBuilder::from_tensors(weights(DType::F32)?, DType::F32, &device);
    let their_model = theirs::Model::new(&their_config, vb.clone())?;
    let our_model = ours::Mamba::new(&our_config, vb)?;
    let mut our_state = ours::State::new(batch, &our_config, DType::F32, &device)?;
    // candle's own takes one sequence at a time: its B and C do not broadcast over a batch
    let their_states = (0..batch).map(|_| theirs::State::new(1, &their_config, DType::F32, &device));
    let mut their_states = their_states.collect::<Result<Vec<_>>>()?;
    let oracle = oracle()?;
    let mut state = State::new(&Reference, oracle.config(), batch).map_err(candle_core::Error::wrap)?;
    let slots =
        Batch::decode(&(0..batch as u32).map(Slot::new).collect::<Vec<_>>()).map_err(ours::candle_error)?;
    for position in 0..40 {
        let tokens: Vec<u32> = (0..batch).map(|sequence| token(sequence, position)).collect();
        let expected = oracle.forward(&tokens, &slots, &mut state, Logits::Last, &mut Scratch::default());
        let expected = expected.map_err(candle_core::Error::wrap)?;
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let theirs = tokens
            .iter()
            .zip(&mut their_states)
            .map(|(&token, state)| their_model.forward(&Tensor::new(&[token], &device)?, state));
        let theirs = Tensor::cat(&theirs.collect::<Result<Vec<_>>>()?, 0)?;
        let ours = our_model.forward(&Tensor::new(tokens, &device)?, &mut our_state)?;
        assert_eq!(ours.dims(), theirs.dims());
        let length = position + 1;
        let roundings =
            ["cpu", "reference"].map(|name| Roundings { name, config: oracle.config(), length }.logits());
        let roundings = roundings.into_iter().sum();
        tolerance::assert_close(
            &format!("this crate, position {position}"),
            roundings,
            &flat(&ours)?,
            &expected,
        );
        tolerance::assert_close(
            &format!("candle, position {position}"),
            roundings,
            &flat(&theirs)?,
            &expected,
        );
    }
    assert_eq!((our_state.pos, their_states[0].pos), (40, 40));
    Ok(())
}

#[test]
fn a_prompt_at_once_gives_the_bits_of_token_by_token() -> Result<()> {
    let (_, config) = configs();
    let (batch, length, device) = (2, 29, Device::Cpu);
    let model =
        ours::Mamba::new(&config, VarBuilder::from_tensors(weights(DType::F32)?, DType::F32, &device))?;
    let mut one_by_one = ours::State::new(batch, &config, DType::F32, &device)?;
    let mut last = None;
    for position in 0..length {
        let tokens: Vec<u32> = (0..batch).map(|sequence| token(sequence, position)).collect();
        last = Some(model.forward(&Tensor::new(tokens, &device)?, &mut one_by_one)?);
    }
    let mut at_once = ours::State::new(batch, &config, DType::F32, &device)?;
    let tokens: Vec<u32> = (0..batch).flat_map(|s| (0..length).map(move |p| token(s, p))).collect();
    let prompt = Tensor::from_vec(tokens, (batch, length), &device)?;
    let found = model.forward_prompt(&prompt, &mut at_once)?;
    assert_eq!(found.to_vec2::<f32>()?, last.expect("there was a token").to_vec2::<f32>()?);
    assert_eq!(at_once.pos, length);
    Ok(())
}

#[test]
fn half_precision_weights_are_packed_in_their_type() -> Result<()> {
    let (_, config) = configs();
    let device = Device::Cpu;
    for dtype in [DType::F16, DType::BF16] {
        let narrow = weights(dtype)?;
        let wide = narrow.iter().map(|(name, t)| Ok((name.clone(), t.to_dtype(DType::F32)?)));
        let wide = VarBuilder::from_tensors(wide.collect::<Result<_>>()?, DType::F32, &device);
        let narrow = VarBuilder::from_tensors(narrow, dtype, &device);
        let logits = |vb| {
            let model = ours::Mamba::new(&config, vb)?;
            let mut state = ours::State::new(1, &config, dtype, &device)?;
            let prompt = Tensor::new(vec![vec![3u32, 14, 15, 9, 2, 6]], &device)?;
            Ok::<_, candle_core::Error>((model.forward_prompt(&prompt, &mut state)?, model.dtype()))
        };
        // widening is exact, so the f32 model has the same logits before they are rounded
        let (found, found_dtype) = logits(narrow)?;
        let (expected, _) = logits(wide)?;
        assert_eq!((found_dtype, found.dtype()), (dtype, dtype));
        let expected = expected.to_dtype(dtype)?.to_dtype(DType::F32)?;
        assert_eq!(found.to_dtype(DType::F32)?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    }
    Ok(())
}

/// Every golden checkpoint through candle's `VarBuilder`: untied heads, biases, Falcon-Mamba, shards, narrow types.
#[test]
fn golden_checkpoints_have_the_logits_of_mamba_kernels() -> Result<()> {
    let device = Device::Cpu;
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let mut heads = 0;
    for folder in std::fs::read_dir(data)?.map(|entry| entry.map(|entry| entry.path())) {
        let folder = folder?;
        let Ok(config) = std::fs::read_to_string(folder.join("config.json")) else { continue };
        let config = Config::from_json(&config).map_err(candle_core::Error::wrap)?;
        let files = std::fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path()));
        let files: Vec<_> = files.collect::<std::io::Result<_>>()?;
        let is_weights = |path: &&std::path::PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("model") && name.ends_with(".safetensors")
        };
        let mut tensors = HashMap::new();
        for file in files.iter().filter(is_weights) {
            tensors.extend(candle_core::safetensors::load(file, &device)?);
        }
        heads += usize::from(!config.tie_embeddings);
        let dtype = tensors.values().map(|tensor| tensor.dtype()).min_by_key(|dtype| dtype.size_in_bytes());
        let vb = VarBuilder::from_tensors(tensors, dtype.expect("weights"), &device);

        let expected = Mamba::load(Cpu::new(), &folder).map_err(candle_core::Error::wrap)?;
        let mut state = State::new(&Cpu::new(), &config, 1).map_err(candle_core::Error::wrap)?;
        let (ids, batch) = ([3u32, 14, 15, 9, 2, 6], Batch::single(6));
        let logits = expected.forward(&ids, &batch, &mut state, Logits::Last, &mut Scratch::default());
        let logits = logits.map_err(candle_core::Error::wrap)?;
        let logits = Tensor::new(logits, &device)?.to_dtype(vb.dtype())?.to_dtype(DType::F32)?;

        let mut state = ours::State::with_config(1, &config)?;
        let model = ours::Mamba::with_config(Cpu::new(), config, vb.pp("backbone"))?;
        let found = model.forward_prompt(&Tensor::new(vec![ids.to_vec()], &device)?, &mut state)?;
        let found = found.to_dtype(DType::F32)?;
        assert_eq!(flat(&found)?, flat(&logits)?, "{}", folder.display());
    }
    assert!(heads >= 2, "{heads} checkpoints with a head of their own");
    Ok(())
}

/// A head is beside `backbone`, wherever that is.
#[test]
fn an_untied_head_is_found_beside_the_backbone() -> Result<()> {
    let device = Device::Cpu;
    let mut tensors = weights(DType::F32)?;
    let head = (tensors["embedding.weight"].clone() * 0.5)?;
    let json = format!(
        r#"{{"d_model": {D_MODEL}, "n_layer": {N_LAYER}, "vocab_size": {VOCAB}, "pad_vocab_size_multiple": 8,
            "tie_embeddings": false, "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true}}"#
    );
    let logits_by = |json: &str, tensors: HashMap<String, Tensor>, prefix: &str| -> Result<Vec<f32>> {
        let config = Config::from_json(json).map_err(candle_core::Error::wrap)?;
        let root = VarBuilder::from_tensors(tensors, DType::F32, &device);
        let vb = if prefix.is_empty() { root } else { root.pp(prefix) };
        let mut state = ours::State::with_config(1, &config)?;
        let model = ours::Mamba::with_config(Cpu::new(), config, vb)?;
        flat(&model.forward(&Tensor::new(&[5u32], &device)?, &mut state)?)
    };
    let logits = |tensors, prefix| logits_by(&json, tensors, prefix);
    let missing = logits(tensors.clone(), "").expect_err("there is no head").to_string();
    assert!(missing.contains("lm_head.weight"), "{missing}");
    tensors.insert("lm_head.weight".into(), head.clone());
    let expected = logits(tensors.clone(), "")?;
    tensors.remove("lm_head.weight");
    for (parent, backbone) in [("", "backbone"), ("model.", "model.backbone")] {
        let mut placed: HashMap<String, Tensor> =
            tensors.iter().map(|(name, tensor)| (format!("{backbone}.{name}"), tensor.clone())).collect();
        placed.insert(format!("{parent}lm_head.weight"), head.clone());
        assert_eq!(logits(placed.clone(), backbone)?, expected, "{backbone}");
        // a stored head that differs from the embedding is used, whatever the configuration says
        let tied = json.replace(r#""tie_embeddings": false"#, r#""tie_embeddings": true"#);
        assert_eq!(logits_by(&tied, placed, backbone)?, expected, "{backbone}, tied");
    }
    Ok(())
}

/// Ids of every integer type; one that is no token id is an error, never another token.
#[test]
fn token_ids_are_taken_as_they_are() -> Result<()> {
    let (_, config) = configs();
    let device = Device::Cpu;
    let vb = VarBuilder::from_tensors(weights(DType::F32)?, DType::F32, &device);
    let model = ours::Mamba::new(&config, vb)?;
    let run = |ids: Tensor| {
        let mut state = ours::State::new(1, &config, DType::F32, &device)?;
        model.forward(&ids, &mut state).and_then(|logits| flat(&logits))
    };
    let expected = run(Tensor::new(&[7u32], &device)?)?;
    for dtype in [DType::U8, DType::I16, DType::I32, DType::I64] {
        assert_eq!(run(Tensor::new(&[7u32], &device)?.to_dtype(dtype)?)?, expected, "{dtype:?}");
    }
    for id in [(1i64 << 32) + 7, -1, i64::MIN] {
        let error = run(Tensor::new(&[id], &device)?).expect_err("it is no token").to_string();
        assert!(error.contains(&format!("expected token ids, found {id}")), "{error}");
    }
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let ids = Tensor::new(&[7u32], &device)?.to_dtype(dtype)?;
        let error = run(ids).expect_err("it is no integer").to_string();
        assert!(error.contains(&format!("expected an integer type, found {}", dtype.as_str())), "{error}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let (_, config) = configs();
    let device = Device::Cpu;
    let mut tensors = weights(DType::F32)?;
    let model = ours::Mamba::new(&config, VarBuilder::from_tensors(tensors.clone(), DType::F32, &device))?;
    let mut state = ours::State::new(2, &config, DType::F32, &device)?;
    let error = |result: Result<Tensor>| result.expect_err("it is wrong").to_string();
    let three = error(model.forward(&Tensor::new(&[1u32, 2, 3], &device)?, &mut state));
    assert!(three.contains("expected 2 sequences, as the state has, found 3"), "{three}");
    let large = error(model.forward(&Tensor::new(&[1u32, 64], &device)?, &mut state));
    assert!(large.contains("below the vocabulary of 64"), "{large}");
    assert_eq!(state.pos, 0);

    tensors.remove("layers.1.mixer.D");
    let missing = ours::Mamba::new(&config, VarBuilder::from_tensors(tensors, DType::F32, &device));
    let missing = missing.expect_err("D is missing").to_string();
    assert!(missing.contains("layers.1.mixer.D"), "{missing}");
    Ok(())
}
