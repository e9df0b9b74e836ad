//! `config.json`, in either form: an error or a configuration that holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mamba_kernels::model::Config;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = Config::from_json(text) {
        assert!(config.d_model > 0 && config.d_conv > 0 && config.d_state > 0);
        assert!(config.d_inner.checked_mul(config.d_state).is_some());
    }
});
