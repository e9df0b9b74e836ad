//! Errors of NVIDIA's driver as errors of this crate.
#![forbid(unsafe_code)]

use crate::arrays::Error;
use cudarc::driver::result::DriverError;

/// The error of a call to the driver, with what the call was for.
pub(super) fn failed(operation: &str, error: DriverError) -> Error {
    Error::Device { operation: operation.into(), reason: reason(error) }
}

pub(super) fn reason(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{text} ({name})"),
        _ => format!("error {} of the driver", error.0 as u32),
    }
}

pub(super) fn unavailable(reason: String) -> Error {
    Error::Unavailable { backend: "cuda".into(), reason }
}

pub(super) fn no_device(error: DriverError) -> Error {
    unavailable(format!("no CUDA device can be used: {}", reason(error)))
}
