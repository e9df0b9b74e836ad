//! The compiled kernels, loaded into a device.

use super::compile;
use super::failure::{failed, reason};
use crate::arrays::{Error, Result};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

/// The images in the crate, each for all devices from a compute capability on, the latest first.
const IMAGES: [((i32, i32), &str); 2] = [
    ((8, 0), include_str!("../../../cuda/ptx/mamba_kernels.compute_80.ptx")),
    ((7, 5), include_str!("../../../cuda/ptx/mamba_kernels.compute_75.ptx")),
];

/// Dynamic shared memory that a kernel may have without opting in: 48 KiB.
const USUAL_SHARED: u32 = 48 << 10;

/// A module of the device and the kernels that were looked up in it.
#[derive(Debug)]
pub(super) struct Modules {
    module: sys::CUmodule,
    functions: Mutex<HashMap<String, Function>>,
    origin: String,
}

#[derive(Debug, Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// The dynamic shared memory that it may have.
    shared_bytes: u32,
}

// SAFETY: the handles are pointers of the driver, which allows any thread to use them and does its own locking.
unsafe impl Send for Modules {}
// SAFETY: as for `Send`; the map is behind a mutex.
unsafe impl Sync for Modules {}

impl Modules {
    /// Loads the kernels for the current context, whose device has this compute capability.
    ///
    /// In this order: NVRTC, then nvcc, each compiling for exactly this device or taking what an earlier run has
    /// cached; then the PTX in the crate, which the driver compiles. One that is absent or fails is skipped.
    /// `MAMBA_KERNELS_CUDA_COMPILER` names the only one to use: `nvrtc`, `nvcc` or `embedded`.
    pub(super) fn load(capability: (i32, i32)) -> Result<Self> {
        let wanted = std::env::var(compile::VARIABLE).ok();
        let mut reasons = Vec::new();
        for compiler in compile::COMPILERS {
            if wanted.as_deref().is_some_and(|wanted| wanted != compiler.name()) {
                continue;
            }
            let image = match compiler {
                compile::Compiler::Embedded => embedded(capability),
                _ => compiler.image(capability),
            };
            match image.and_then(|(image, origin)| Ok((load_image(&image)?, origin))) {
                Ok((module, origin)) => {
                    return Ok(Self { module, functions: Mutex::default(), origin });
                }
                Err(reason) => reasons.push(format!("{}: {reason}", compiler.name())),
            }
        }
        if reasons.is_empty() {
            let names: Vec<&str> = compile::COMPILERS.iter().map(|compiler| compiler.name()).collect();
            reasons.push(format!("{} must be one of {}", compile::VARIABLE, names.join(", ")));
        }
        let reason = format!("the kernels cannot be loaded: {}", reasons.join("; "));
        Err(Error::Unavailable { backend: "cuda".into(), reason })
    }

    /// The origin of the kernels, in words.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// A kernel that may have this much dynamic shared memory.
    pub(super) fn function(&self, kernel: &str, shared_bytes: u32) -> Result<sys::CUfunction> {
        // the map is consistent even after a panic: entries are inserted last
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match functions.get(kernel) {
            Some(&found) => found,
            None => {
                let name = CString::new(kernel).map_err(|_| Error::Device {
                    operation: kernel.into(),
                    reason: "its name contains a NUL".into(),
                })?;
                // SAFETY: the module was loaded by `load` and is unloaded only by `unload`, after which nothing is
                // launched.
                let handle = unsafe { result::module::get_function(self.module, name) };
                let handle = handle.map_err(|error| failed(kernel, error))?;
                Function { handle, shared_bytes: USUAL_SHARED }
            }
        };
        if found.shared_bytes < shared_bytes {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the handle is of a function of the module, which is loaded.
            let set = unsafe {
                result::function::set_function_attribute(found.handle, attribute, shared_bytes as i32)
            };
            set.map_err(|error| failed(kernel, error))?;
        }
        let allowed = found.shared_bytes.max(shared_bytes);
        functions.insert(kernel.into(), Function { shared_bytes: allowed, ..found });
        Ok(found.handle)
    }

    /// Unloads the module.
    ///
    /// # Safety
    /// 1. The module's context is current on the calling thread.
    /// 2. No kernel of the module is running.
    /// 3. None is launched after this, and this is called once.
    pub(super) unsafe fn unload(&mut self) {
        // SAFETY: `load` has loaded the module; by 1 to 3 it is in the current context, unused, and unloaded once.
        let unloaded = unsafe { result::module::unload(self.module) };
        // after a failure of the device nothing can be unloaded
        let _ = unloaded;
    }
}

/// The image in the crate for a device.
fn embedded(capability: (i32, i32)) -> std::result::Result<(Vec<u8>, String), String> {
    let ((major, minor), text) = IMAGES
        .into_iter()
        .find(|(oldest, _)| *oldest <= capability)
        .ok_or_else(|| "none for this device".to_string())?;
    Ok((text.into(), format!("from PTX for compute capability {major}.{minor}")))
}

/// Loads PTX or machine code into the current context.
fn load_image(image: &[u8]) -> std::result::Result<sys::CUmodule, String> {
    let image = [image, &[0]].concat(); // PTX ends with a NUL; machine code holds its length
    // SAFETY: the image is complete: it is the crate's own, or a compiler made it, and it ends with a NUL. The driver
    // copies it before this returns.
    let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
    module.map_err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_an_image() {
        for (capability, target) in
            [((7, 5), "sm_75"), ((8, 6), "sm_80"), ((9, 0), "sm_80"), ((12, 1), "sm_80")]
        {
            let (image, _) = embedded(capability).unwrap();
            let text = String::from_utf8(image).unwrap();
            assert!(text.contains(&format!(".target {target}")), "{capability:?}");
        }
        assert!(embedded((7, 0)).is_err());
    }
}
