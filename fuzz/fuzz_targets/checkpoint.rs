//! The directory of a checkpoint: `config.json`, the index, two shards and `generation_config.json`. If there is no index,
//! the first shard is the single file.
#![no_main]

mod sections;

use libfuzzer_sys::fuzz_target;
use mamba_kernels::Cpu;
use mamba_kernels::model::{Config, Mamba};
use sections::sections;
use std::sync::LazyLock;

static CPU: LazyLock<Cpu> = LazyLock::new(|| Cpu::builder().threads(1).build().unwrap());
/// In memory where there is such a place.
static ROOT: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());

fuzz_target!(|data: &[u8]| {
    let [config, index, first, second, generation] = sections::<5>(data);
    // a model of many gigabytes would be refused for its tensors, but only after its layers were counted
    let text = std::str::from_utf8(config).unwrap_or("");
    if Config::from_json(text).is_ok_and(|config| config.n_layer > 64) {
        return;
    }
    let root = ROOT.path();
    let shards = match index.is_empty() {
        true => ["model.safetensors", "unused.safetensors"],
        false => ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    };
    let index_name = "model.safetensors.index.json";
    let files = [
        ("config.json", config),
        (index_name, index),
        (shards[0], first),
        (shards[1], second),
        ("generation_config.json", generation),
    ];
    for entry in std::fs::read_dir(root).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        std::fs::write(root.join(name), bytes).unwrap();
    }
    if let Ok(model) = Mamba::load(CPU.clone(), root) {
        let _ = model.new_state(1);
    }
});
