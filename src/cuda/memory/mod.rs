//! Memory of a device.

pub(super) mod buffer;
pub(super) mod device;
pub(super) mod on_device;
pub(super) mod view;
