//! The kernels, loaded into a device: one module per context, which all backends in that context share.

use super::compile::{self, Image};
use super::failure::{reason, unavailable};
use super::kernels::{KERNELS, KernelResources, index_of};
use crate::arrays::{Error, Result};
use cudarc::driver::{CudaContext, result, sys};
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The kernels of a module in a context.
#[derive(Debug)]
pub(super) struct Modules {
    /// The module's, which lives as long.
    context: Arc<CudaContext>,
    module: sys::CUmodule,
    /// In the order of [`KERNELS`].
    functions: [sys::CUfunction; KERNELS.len()],
    resources: [KernelResources; KERNELS.len()],
    description: Arc<str>,
}

// SAFETY: the handles are pointers of the driver, which allows any thread to use them and does its own locking.
unsafe impl Send for Modules {}
// SAFETY: as for `Send`; nothing changes after `load`.
unsafe impl Sync for Modules {}

/// Modules that some backend has, by the context and by the origins that were to be tried.
static LOADED: Mutex<Vec<(Key, Weak<Modules>)>> = Mutex::new(Vec::new());

type Key = (usize, Vec<compile::Origin>);

impl Modules {
    /// The kernels of a context that is the calling thread's, whose device has this compute capability. They are loaded
    /// once, however many threads ask for them at a time.
    ///
    /// Of the origins that [`compile::origins`] lists, one that is absent or fails is skipped.
    pub(super) fn of(context: &Arc<CudaContext>, capability: (i32, i32)) -> Result<Arc<Self>> {
        let refused = |reason: String| unavailable(format!("the kernels cannot be loaded: {reason}"));
        let origins = compile::origins().map_err(refused)?;
        // complete after a panic: an entry is added when its module is loaded. The lock is held while a compiler runs.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(_, modules)| modules.strong_count() > 0);
        let key = (context.cu_ctx() as usize, origins);
        if let Some(modules) = loaded.iter().find(|(own, _)| *own == key).and_then(|(_, it)| it.upgrade()) {
            return Ok(modules);
        }
        let mut reasons = Vec::new();
        for origin in &key.1 {
            match origin.image(capability).and_then(|image| Self::load(context, &image)) {
                Ok(modules) => {
                    let modules = Arc::new(modules);
                    loaded.push((key, Arc::downgrade(&modules)));
                    return Ok(modules);
                }
                Err(reason) => reasons.push(format!("{}: {reason}", origin.name())),
            }
        }
        Err(refused(reasons.join("; ")))
    }

    /// Loads an image and all of its kernels.
    fn load(context: &Arc<CudaContext>, image: &Image) -> std::result::Result<Self, String> {
        // SAFETY: the image is complete, from a compiler, a file or the crate, and ends with a NUL. The driver checks it
        // and copies it before this returns.
        let module = unsafe { result::module::load_data(image.bytes.as_ptr().cast()) }.map_err(reason)?;
        // unloads the module if one of its kernels is missing
        let mut modules = Self {
            context: context.clone(),
            module,
            functions: [std::ptr::null_mut(); KERNELS.len()],
            resources: [KernelResources { registers: 0, local_bytes: 0, shared_bytes: 0 }; KERNELS.len()],
            description: image.description.clone(),
        };
        for (i, kernel) in KERNELS.iter().enumerate() {
            let name = CString::new(*kernel).map_err(|error| error.to_string())?;
            // SAFETY: the module was loaded above.
            let function = unsafe { result::module::get_function(module, name) };
            let function = function.map_err(|error| format!("{kernel}: {}", reason(error)))?;
            // a driver may put off the loading of a kernel's code until the code is asked about or launched
            modules.resources[i] =
                resources(function).map_err(|error| format!("{kernel}: {}", reason(error)))?;
            modules.functions[i] = function;
        }
        Ok(modules)
    }

    /// The origin of the kernels, in words.
    pub(super) fn description(&self) -> &str {
        &self.description
    }

    pub(super) fn function(&self, kernel: &str) -> Result<sys::CUfunction> {
        match index_of(kernel) {
            Some(index) => Ok(self.functions[index]),
            None => Err(Error::Device { operation: kernel.into(), reason: "no kernel of this name".into() }),
        }
    }

    /// What a kernel needs, by its place in [`KERNELS`].
    pub(super) fn resources(&self, index: usize) -> Option<KernelResources> {
        self.resources.get(index).copied()
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        // The backends that used the kernels have waited for their work when they were dropped.
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: `load` has loaded the module, in the context that is current now; nothing launches its kernels
            // any more, and it is unloaded once.
            let unloaded = unsafe { result::module::unload(self.module) };
            // after a failure of the device nothing can be unloaded
            let _ = unloaded;
        }
    }
}

/// What the driver says of a kernel. Its code is loaded then.
fn resources(
    function: sys::CUfunction,
) -> std::result::Result<KernelResources, cudarc::driver::result::DriverError> {
    use sys::CUfunction_attribute as Attribute;
    let attribute = |attribute| {
        // SAFETY: the function is of a module that is loaded.
        let value = unsafe { result::function::get_function_attribute(function, attribute) };
        value.map(|value| value.unsigned_abs())
    };
    Ok(KernelResources {
        registers: attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
        local_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
        shared_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
    })
}
