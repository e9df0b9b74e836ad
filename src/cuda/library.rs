//! Whether NVIDIA's libraries are on the machine. `cudarc` panics where one is absent that it loads at run time.

/// The driver's names, some of those under which `cudarc` looks for it.
pub(super) const DRIVER: &[&str] =
    if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so", "libcuda.so.1"] };

/// NVRTC's.
pub(super) const NVRTC: &[&str] =
    if cfg!(windows) { &["nvrtc64_120_0.dll"] } else { &["libnvrtc.so", "libnvrtc.so.12", "libnvrtc.so.11"] };

/// Whether one of them can be loaded. A program that is linked with them starts only where they are.
pub(super) fn is_present(names: &[&str]) -> bool {
    // SAFETY: it loads the library of that name, whose initialisers are NVIDIA's.
    cfg!(feature = "cuda-linked")
        || names.iter().any(|name| unsafe { libloading::Library::new(*name) }.is_ok())
}
