//! Whether NVIDIA's libraries and a device are usable. `cudarc` loads the libraries at run time and panics if one is
//! absent.

use super::failure::{no_device, reason, unavailable};
use crate::arrays::{Error, Result};
use cudarc::driver::result::DriverError;
use cudarc::driver::{CudaContext, result, sys};
use std::ffi::c_int;

/// The oldest driver, as `cuDriverGetVersion` counts: every function that is called here is in it.
const OLDEST_DRIVER: c_int = 12000;

/// The oldest compute capability that the kernels are compiled for.
const OLDEST_DEVICE: (i32, i32) = (7, 5);

/// File names of the driver, among those that `cudarc` tries.
const DRIVER: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };

/// Whether the driver's library can be loaded. With `cuda-linked` a program is linked with it and does not start without
/// it.
fn driver_is_present() -> bool {
    // SAFETY: loading runs the initialisers of NVIDIA's library, which every CUDA program runs; nothing is called yet.
    cfg!(feature = "cuda-linked")
        || DRIVER.iter().any(|name| unsafe { libloading::Library::new(*name) }.is_ok())
}

/// Why the driver does not start. A toolkit has a library of the driver's name to link programs with, and a search path
/// that has its folder `stubs` finds that one first.
fn does_not_start(error: DriverError) -> Error {
    let stub = sys::CUresult::CUDA_ERROR_STUB_LIBRARY;
    unavailable(match error.0 == stub {
        true => {
            "the libcuda.so that was found is a toolkit's stub, not a driver: remove its folder `stubs` from \
                 LD_LIBRARY_PATH"
                .into()
        }
        false => format!("NVIDIA's driver does not start: {}", reason(error)),
    })
}

/// `12040` as `12.4`.
fn version(number: c_int) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Checks the library and its version before any other function of it is called.
fn expect_driver() -> Result<c_int> {
    if !driver_is_present() {
        let name = DRIVER[0];
        return Err(unavailable(format!("there is no NVIDIA driver: {name} is not found")));
    }
    let mut found = 0;
    // SAFETY: the library can be loaded, every version of it has this function, and it writes to a live integer.
    let answer = unsafe { sys::cuDriverGetVersion(&mut found) }.result();
    answer.map_err(does_not_start)?;
    if found < OLDEST_DRIVER {
        let (found, oldest) = (version(found), version(OLDEST_DRIVER));
        let reason = format!(
            "the driver is for CUDA {found}, and {oldest} or later is needed: update NVIDIA's driver"
        );
        return Err(unavailable(reason));
    }
    Ok(found)
}

/// A device that can be used, before a context is made on it.
#[derive(Debug)]
pub(super) struct ProbedDevice {
    pub(super) ordinal: usize,
    device: sys::CUdevice,
    name: String,
    pub(super) capability: (i32, i32),
    driver: c_int,
}

impl ProbedDevice {
    /// Looks up a device and checks it; nothing is created on it.
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        use sys::CUdevice_attribute as Attribute;
        let driver = expect_driver()?;
        result::init().map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_STUB_LIBRARY => does_not_start(error),
            _ => no_device(error),
        })?;
        let count = CudaContext::device_count().map_err(no_device)?;
        if ordinal as u64 >= count.unsigned_abs().into() {
            return Err(unavailable(format!("there is no CUDA device {ordinal}: the driver has {count}")));
        }
        let device = result::device::get(ordinal as c_int).map_err(no_device)?;
        let name = result::device::get_name(device).map_err(no_device)?;
        let attribute = |attribute| {
            // SAFETY: the driver has returned this device.
            unsafe { result::device::get_attribute(device, attribute) }.map_err(no_device)
        };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if (major, minor) < OLDEST_DEVICE {
            let (oldest, least) = OLDEST_DEVICE;
            let reason = format!("{name} has compute capability {major}.{minor}, {oldest}.{least} is needed");
            return Err(unavailable(reason));
        }
        Ok(Self { ordinal, device, name, capability: (major, minor), driver })
    }

    /// Its bytes of memory.
    pub(super) fn total_memory(&self) -> Result<usize> {
        // SAFETY: the driver has returned this device.
        unsafe { result::device::total_mem(self.device) }.map_err(no_device)
    }

    /// One line about it.
    pub(super) fn description(&self) -> String {
        let Self { name, capability: (major, minor), driver, .. } = self;
        format!("{name}, compute capability {major}.{minor}, driver for CUDA {}", version(*driver))
    }
}

/// What the first device is, or why none can be used. No kernel is loaded for it.
pub(crate) fn probe() -> Result<String> {
    Ok(ProbedDevice::new(0)?.description())
}
