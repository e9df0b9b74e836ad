//! [`OnDevice`]: what the views have in common.
#![forbid(unsafe_code)]

/// What the arrays of an op have in common.
pub(crate) trait OnDevice {
    /// Bytes of an element.
    const ELEMENT: u64;
    /// The number of the device.
    fn device(&self) -> u64;
    fn address(&self) -> u64;
}
