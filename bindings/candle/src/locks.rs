//! The locks of an op: each storage that it reads is locked once, in candle's order.
//!
//! A thread must not lock a storage for reading twice: if another thread waits to write between the two, the second lock
//! waits for that thread, and that thread for the first lock. And threads that take several locks must take them in one
//! order, which in candle is that of the addresses. The storage that an op updates is locked by candle: those at lower
//! addresses are locked before candle is called, the others from inside its call.

use crate::backend::{StorageAccess, View};
use crate::element::TensorElement;
use crate::error::argument;
use crate::layout::{rows, values};
use crate::storage::DeviceStorage;
use candle_core::{Result, Storage, StorageRef, Tensor, TensorId};
use mamba_kernels::Rows;
use std::cell::RefCell;

pub(crate) type Guard<'a> = (usize, StorageRef<'a>);

/// The address of a tensor's storage. The lock is released at once.
fn address(tensor: &Tensor) -> usize {
    std::ptr::from_ref::<Storage>(&tensor.storage_and_layout().0).addr()
}

/// Which storages an op locks, and when.
pub(crate) struct LockPlan<'a> {
    /// The storage of each tensor that is read.
    addresses: Vec<(TensorId, usize)>,
    /// Each storage once, by address: those that are locked before the target's, and those after it.
    before: Vec<(usize, &'a Tensor)>,
    after: Vec<(usize, &'a Tensor)>,
    /// Whether the target's storage is read too.
    pub target_is_read: bool,
}

impl<'a> LockPlan<'a> {
    /// Plans the locks of an op that reads `read` and updates `target`, whose storage candle locks. Without a target all
    /// are locked `before`.
    pub fn new(read: &[&'a Tensor], target: Option<&Tensor>) -> Self {
        let addresses: Vec<_> = read.iter().map(|tensor| (tensor.id(), address(tensor))).collect();
        let mut storages: Vec<_> =
            addresses.iter().map(|(_, address)| *address).zip(read.iter().copied()).collect();
        storages.sort_by_key(|(address, _)| *address);
        storages.dedup_by_key(|(address, _)| *address);
        let target = target.map_or(usize::MAX, address);
        let target_is_read = storages.iter().any(|(address, _)| *address == target);
        let (before, after) = storages.into_iter().partition(|(address, _)| *address < target);
        Self { addresses, before, after, target_is_read }
    }

    /// To be called before candle locks the target.
    pub fn lock_before(&self) -> Vec<Guard<'a>> {
        lock(&self.before)
    }

    /// To be called once candle has locked the target.
    pub fn lock_after(&self) -> Vec<Guard<'a>> {
        lock(&self.after)
    }
}

fn lock<'a>(tensors: &[(usize, &'a Tensor)]) -> Vec<Guard<'a>> {
    tensors.iter().map(|(address, tensor)| (*address, tensor.storage_and_layout().0)).collect()
}

/// The locked storages of an op.
#[derive(Clone, Copy)]
pub(crate) struct Locked<'a> {
    pub plan: &'a LockPlan<'a>,
    pub guards: [&'a [Guard<'a>]; 2],
}

/// The tensors that an op reads, as arrays.
pub(crate) struct Reads<'a, O: StorageAccess> {
    op: &'static str,
    backend: &'a O,
    locked: Locked<'a>,
    guards: RefCell<Vec<O::Guard<'a>>>,
}

impl<'a, O: StorageAccess> Reads<'a, O> {
    pub fn new(op: &'static str, backend: &'a O, locked: Locked<'a>) -> Self {
        Self { op, backend, locked, guards: RefCell::default() }
    }

    fn view<T: TensorElement>(&self, name: &'static str, tensor: &Tensor) -> Result<View<'a, O, T>> {
        let Locked { plan, guards } = self.locked;
        let missing = || argument(self.op, name, "a tensor that was locked", "another");
        let (_, address) = *plan.addresses.iter().find(|(id, _)| *id == tensor.id()).ok_or_else(missing)?;
        let mut guards = guards.into_iter().flatten();
        let (_, guard) = guards.find(|(found, _)| *found == address).ok_or_else(missing)?;
        let storage = DeviceStorage::from(&**guard);
        let (view, guard) = self.backend.view(self.op, name, storage)?;
        self.guards.borrow_mut().push(guard);
        Ok(view)
    }

    /// A matrix, or a batch of matrices.
    pub fn rows<T: TensorElement>(
        &self,
        name: &'static str,
        tensor: &Tensor,
    ) -> Result<Rows<View<'a, O, T>>> {
        rows(self.op, name, self.view(name, tensor)?, tensor.layout())
    }

    /// All elements of a contiguous tensor of f32.
    pub fn values(&self, name: &'static str, tensor: &Tensor) -> Result<View<'a, O, f32>> {
        values(self.op, name, self.view(name, tensor)?, tensor.layout())
    }

    /// [`Reads::values`] of a tensor that may be absent.
    pub fn optional(&self, name: &'static str, tensor: Option<&Tensor>) -> Result<Option<View<'a, O, f32>>> {
        tensor.map(|tensor| self.values(name, tensor)).transpose()
    }
}
