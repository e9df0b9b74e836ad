//! [`Device`], a driver with its steps, and [`Memory`], which owns an allocation of it.
#![forbid(unsafe_code)]

use super::on_device::OnDevice;
use crate::arrays::{Error, Result, Rows, Scalar, Storage};
use crate::cuda::driver::interface::{Driver, Graph, Launch};
use crate::cuda::driver::kernels::{KERNELS, index_of};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A driver, and a number that tells its memory from that of all others.
#[derive(Debug)]
pub(crate) struct Device {
    pub driver: Box<dyn Driver>,
    id: u64,
    steps: Mutex<Steps>,
    /// How often each of [`KERNELS`] was launched or recorded.
    launches: [AtomicU64; KERNELS.len()],
}

/// The steps that are being collected, and the memory that has been freed meanwhile, which their launches may use.
#[derive(Debug, Default)]
struct Steps {
    /// How many have begun.
    begun: u64,
    /// The numbers of those that have not ended.
    open: BTreeSet<u64>,
    /// Addresses, and how many steps had begun when each was freed.
    given_up: Vec<(u64, u64)>,
}

/// A step of a device: until this is dropped, no memory that it may use is freed.
#[derive(Debug)]
pub(crate) struct OpenStep {
    device: Arc<Device>,
    number: u64,
}

impl OpenStep {
    pub fn new(device: &Arc<Device>) -> Self {
        let mut steps = device.steps();
        let number = steps.begun;
        steps.begun += 1;
        steps.open.insert(number);
        drop(steps);
        Self { device: device.clone(), number }
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for OpenStep {
    fn drop(&mut self) {
        let mut steps = self.device.steps();
        steps.open.remove(&self.number);
        let oldest = steps.open.first().copied().unwrap_or(steps.begun);
        let (free, kept): (Vec<_>, Vec<_>) =
            steps.given_up.drain(..).partition(|&(_, begun)| begun <= oldest);
        steps.given_up = kept;
        drop(steps);
        free.iter().for_each(|&(address, _)| self.device.driver.free(address));
    }
}

impl Device {
    pub fn new(driver: Box<dyn Driver>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (id, launches) =
            (NEXT.fetch_add(1, Ordering::Relaxed), [const { AtomicU64::new(0) }; KERNELS.len()]);
        Arc::new(Self { driver, id, steps: Mutex::default(), launches })
    }

    /// Runs a kernel.
    pub fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.driver.launch(launch)?;
        self.count(launch);
        Ok(())
    }

    /// Records launches, to be run many times.
    pub fn record(&self, launches: &[Launch<'_>]) -> Result<Box<dyn Graph>> {
        let graph = self.driver.record(launches)?;
        launches.iter().for_each(|launch| self.count(launch));
        Ok(graph)
    }

    fn count(&self, launch: &Launch<'_>) {
        if let Some(index) = index_of(launch.kernel) {
            self.launches[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a kernel was launched or recorded, by its place in [`KERNELS`].
    pub fn launches_of(&self, kernel: usize) -> u64 {
        self.launches[kernel].load(Ordering::Relaxed)
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        // consistent even after a panic: no code that holds the lock panics between two changes
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees memory: now, or after the steps that may use it.
    fn free(&self, address: u64) {
        let mut steps = self.steps();
        if steps.open.is_empty() {
            drop(steps);
            self.driver.free(address);
        } else {
            let begun = steps.begun;
            steps.given_up.push((address, begun));
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address of an array of an op, which must be of this device.
    pub fn address<V: OnDevice>(&self, op: &'static str, argument: &'static str, view: &V) -> Result<u64> {
        self.expect(op, argument, view.device())?;
        Ok(view.address())
    }

    /// The address of an array that may be absent: then 0.
    pub fn optional<V: OnDevice>(
        &self,
        op: &'static str,
        argument: &'static str,
        view: Option<&V>,
    ) -> Result<u64> {
        view.map_or(Ok(0), |view| self.address(op, argument, view))
    }

    /// The address of row 0. A view without rows may lie past its data: then nothing may be read there.
    pub fn rows<V: OnDevice + Storage>(
        &self,
        op: &'static str,
        argument: &'static str,
        rows: &Rows<V>,
    ) -> Result<u64> {
        self.expect(op, argument, rows.data().device())?;
        Ok(rows.data().address().wrapping_add((rows.offset() as u64).wrapping_mul(V::ELEMENT)))
    }

    pub fn expect(&self, op: &'static str, argument: &'static str, id: u64) -> Result<()> {
        if id == self.id {
            return Ok(());
        }
        Err(Error::argument(op, argument, "memory of the backend that was called", "memory of another one"))
    }
}

/// An allocation, freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Memory {
    device: Arc<Device>,
    address: u64,
}

impl Memory {
    /// At least `bytes` bytes, which hold anything. `what` is the error's: the op, and the elements and their type.
    pub fn new(
        device: &Arc<Device>,
        bytes: usize,
        what: (&'static str, usize, &'static str),
    ) -> Result<Self> {
        let (op, elements, dtype) = what;
        let address = device.driver.alloc(bytes.max(1)).map_err(|error| match error {
            Error::OutOfMemory { .. } => Error::OutOfMemory { op, elements, dtype },
            other => other,
        })?;
        Ok(Self { device: device.clone(), address })
    }

    /// Room for `len` elements of `T`.
    pub fn of<T: Scalar>(device: &Arc<Device>, op: &'static str, len: usize) -> Result<Self> {
        let what = (op, len, T::DTYPE.name());
        let bytes = bytes_of::<T>(len).ok_or(Error::OutOfMemory { op, elements: len, dtype: what.2 })?;
        Self::new(device, bytes, what)
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.free(self.address);
    }
}

/// The size of an array in bytes, if it can be allocated.
fn bytes_of<T>(len: usize) -> Option<usize> {
    len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize)
}
