//! A checkpoint of the shape of mamba-130m with random weights, in memory.

use mamba_kernels::{DType, Element};
use safetensors::tensor::{Dtype, TensorView, serialize};

pub const CONFIG: &str =
    r#"{"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24, "vocab_size": 50280}"#;
pub const LAYERS: usize = 24;
/// in_proj, x_proj, dt_proj and out_proj
pub const LAYER_WEIGHTS: usize = 3072 * 768 + 80 * 1536 + 1536 * 48 + 768 * 1536;
pub const HEAD_WEIGHTS: usize = 50280 * 768;

/// The bytes of a safetensors file.
pub fn random<T: Element>() -> Vec<u8> {
    let mut tensors = vec![
        ("backbone.embeddings.weight".to_string(), vec![50280, 768], 0.02),
        ("backbone.norm_f.weight".to_string(), vec![768], 0.0),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize], scale: f32| {
            tensors.push((format!("backbone.layers.{layer}.{name}"), shape.to_vec(), scale));
        };
        add("norm.weight", &[768], 0.0);
        add("mixer.in_proj.weight", &[3072, 768], 0.04);
        add("mixer.conv1d.weight", &[1536, 1, 4], 0.3);
        add("mixer.conv1d.bias", &[1536], 0.1);
        add("mixer.x_proj.weight", &[80, 1536], 0.03);
        add("mixer.dt_proj.weight", &[1536, 48], 0.1);
        add("mixer.dt_proj.bias", &[1536], 2.0);
        add("mixer.A_log", &[1536, 16], 1.0);
        add("mixer.D", &[1536], 0.5);
        add("mixer.out_proj.weight", &[768, 1536], 0.02);
    }
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(i, (_, shape, scale))| {
            let values = super::values(shape.iter().product(), i as u64 + 1);
            // without a scale: the weight of a norm
            let scaled = values.into_iter().map(|value| if *scale == 0.0 { 1.0 } else { value * scale });
            bytemuck::cast_slice(&scaled.map(T::from_f32).collect::<Vec<T>>()).to_vec()
        })
        .collect();
    let dtype = match T::DTYPE {
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        _ => Dtype::F32,
    };
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name, TensorView::new(dtype, shape.clone(), bytes).expect("the shape is that of the bytes"))
    });
    serialize(views, None).expect("every tensor is valid")
}
