//! The kernels by name, and what is known of each on a device.
#![forbid(unsafe_code)]

/// The symbols of all kernels of `cuda/`, in ascending order. `build.rs` lists them.
pub(in crate::cuda) const KERNELS: &[&str] = include!(concat!(env!("OUT_DIR"), "/cuda_kernels.rs"));

/// The place of a kernel in [`KERNELS`].
pub(in crate::cuda) fn index_of(kernel: &str) -> Option<usize> {
    KERNELS.binary_search(&kernel).ok()
}

/// What a loaded kernel needs, as the driver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelResources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of local memory of a thread: 0 unless the compiler has spilled registers to memory.
    pub local_bytes: u32,
    /// Bytes of a block's static shared memory.
    pub shared_bytes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::driver::sources::SOURCES;

    /// The list has every kernel that a source exports, and no other.
    #[test]
    fn every_exported_kernel_is_listed() {
        let exported = |text: &'static str| {
            let parts = text.split("\nEXPORT_KERNEL(").skip(1);
            parts.filter_map(|part| part.split(',').next())
        };
        let mut found: Vec<&str> = SOURCES.iter().flat_map(|(_, text)| exported(text)).collect();
        found.sort_unstable();
        assert_eq!(found, KERNELS);
        assert!(found.len() > 20);
        assert!(KERNELS.iter().enumerate().all(|(i, kernel)| index_of(kernel) == Some(i)));
        assert_eq!(index_of("mk_none"), None);
    }
}
