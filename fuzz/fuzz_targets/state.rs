//! A saved state, for a small model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mamba_kernels::Cpu;
use mamba_kernels::model::{Config, State};
use std::io::Write;
use std::sync::LazyLock;

static CPU: LazyLock<Cpu> = LazyLock::new(|| Cpu::builder().threads(1).build().unwrap());
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    Config::from_json(r#"{ "d_model": 4, "n_layer": 2, "vocab_size": 5, "ssm_cfg": { "d_state": 2 } }"#)
        .unwrap()
});

fuzz_target!(|data: &[u8]| {
    let mut file =
        tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new()).unwrap();
    file.write_all(data).unwrap();
    if let Ok(state) = State::load(&*CPU, &CONFIG, file.path()) {
        // what is read back is what was written
        let again =
            tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new()).unwrap();
        state.save(&*CPU, again.path()).unwrap();
        State::load(&*CPU, &CONFIG, again.path()).unwrap();
    }
});
