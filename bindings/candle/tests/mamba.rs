//! The drop-in model against candle's own, with the same weights.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::mamba as theirs;
use mamba_kernels::model::{Logits, Mamba, Scratch, State};
use mamba_kernels::{Batch, Reference, Slot};
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
