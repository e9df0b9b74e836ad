//! What the library owns: the CPU backend, batches and packed weights, behind opaque pointers.

use crate::arrays::{MambaRows, MambaTokens};
use crate::dtype::with_dtype;
use crate::slices::Arrays;
use crate::status::{MambaStatus, guarded};
use kernels::cpu::{Isa, PackedWeights, Workspace};
use kernels::{Backend, Batch, Cpu, Error, Result, Slot};
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, MutexGuard, TryLockError};

/// The slot of a padding sequence: its outputs are zeros, and it has no state.
pub const MAMBA_SLOT_PADDING: u32 = 0xffff_ffff;

/// Attempts to lock the workspaces, which others hold for some nanoseconds, before a call makes one of its own.
const TRIES: usize = 100;

/// The CPU backend: an instruction set and threads.
pub struct MambaCpu {
    pub(crate) cpu: Cpu,
    description: CString,
    workspaces: Mutex<Vec<Workspace>>, // one for each concurrent call
}

impl MambaCpu {
    /// Runs an op with a workspace that no other call uses.
    pub(crate) fn with_workspace(&self, op: impl FnOnce(&Cpu, &mut Workspace) -> Result<()>) -> Result<()> {
        let taken = self.pool().and_then(|mut pool| pool.pop());
        let mut workspace = taken.unwrap_or_default();
        let result = op(&self.cpu, &mut workspace);
        if let Some(mut pool) = self.pool() {
            pool.push(workspace);
        }
        result
    }

    /// `None` if another call has it for long: one that held it during a `fork` never gives it back in the child.
    fn pool(&self) -> Option<MutexGuard<'_, Vec<Workspace>>> {
        for _ in 0..TRIES {
            match self.workspaces.try_lock() {
                Ok(pool) => return Some(pool),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        None
    }
}

/// The sequences of a call: the rows of each, and its slot in the state pool.
pub struct MambaBatch(pub(crate) Batch);

/// A weight matrix, packed for one instruction set.
pub struct MambaWeights(pub(crate) PackedWeights);

/// A handle or struct that must not be null.
///
/// # Safety
/// `pointer` is null or points to a valid `T`, which nothing writes to, during `'a`.
pub(crate) unsafe fn handle<'a, T>(op: &'static str, name: &'static str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: this function repeats the precondition.
    unsafe { pointer.as_ref() }.ok_or_else(|| Error::argument(op, name, "a handle", "a null pointer"))
}

/// Gives a new handle to the caller.
///
/// # Safety
/// `out` is null or points to a pointer that may be written.
unsafe fn give<T>(op: &'static str, out: *mut *mut T, make: impl FnOnce() -> Result<T>) -> Result<()> {
    if out.is_null() {
        return Err(Error::argument(op, "out", "a pointer to the new handle", "a null pointer"));
    }
    // SAFETY: `out` is not null, so it may be written. The old value is not read: it may be no valid pointer.
    unsafe { out.write(std::ptr::null_mut()) };
    let value = Box::into_raw(Box::new(make()?));
    // SAFETY: `out` is not null, so it may be written.
    unsafe { out.write(value) };
    Ok(())
}

/// Frees a handle.
///
/// # Safety
/// `pointer` is null, or a live handle of this library that nothing uses any more.
unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // no destructor of a handle panics; if one did, only its memory would be lost
        guarded(|| {
            // SAFETY: `give` made `pointer` with `Box::into_raw`, and nothing uses the handle any more.
            drop(unsafe { Box::from_raw(pointer) });
            Ok(())
        });
    }
}

/// Makes a CPU backend.
///
/// `isa` is `"portable"`, `"avx2"`, `"avx512"` or `"neon"`. If it is null, the environment variable `MAMBA_KERNELS_ISA`
/// names one of them; if that is not set or empty, it is the fastest that this CPU supports. `threads` is the most that a
/// call uses, or 0 for as many as the process has CPUs. More than three are no more in fact than there are CPUs, as
/// `mamba_cpu_description` then says. Every choice gives the same bits.
///
/// # Safety
/// `isa` is null or a NUL-terminated string. `out` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_cpu_new(
    isa: *const c_char,
    threads: usize,
    out: *mut *mut MambaCpu,
) -> MambaStatus {
    const OP: &str = "mamba_cpu_new";
    let make = || {
        let mut builder = Cpu::builder();
        if !isa.is_null() {
            // SAFETY: `isa` is not null, so it is a NUL-terminated string.
            let name = unsafe { CStr::from_ptr(isa) }.to_string_lossy();
            let unknown =
                || Error::argument(OP, "isa", "portable, avx2, avx512 or neon", format_args!("{name:?}"));
            builder = builder.isa(Isa::from_name(&name).ok_or_else(unknown)?);
        }
        if threads > 0 {
            builder = builder.threads(threads);
        }
        let cpu = builder.build()?;
        let description = CString::new(cpu.description()).unwrap_or_default();
        Ok(MambaCpu { cpu, description, workspaces: Mutex::default() })
    };
    // SAFETY: `out` is null or may be written.
    guarded(|| unsafe { give(OP, out, make) })
}

/// One line that names instruction set and threads: how many in fact, if fewer than were asked for. The string lives as
/// long as the handle. Null for a null handle.
///
/// # Safety
/// `cpu` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_cpu_description(cpu: *const MambaCpu) -> *const c_char {
    // SAFETY: `cpu` is null or a live handle.
    unsafe { cpu.as_ref() }.map_or(std::ptr::null(), |cpu| cpu.description.as_ptr())
}

/// Frees a CPU backend. Null is allowed.
///
/// # Safety
/// `cpu` is null, or a live handle that no call uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_cpu_free(cpu: *mut MambaCpu) {
    // SAFETY: `cpu` is null, or a live handle that nothing uses any more.
    unsafe { free(cpu) }
}

/// Makes a batch: sequence `i` is rows `offsets[i]` to `offsets[i + 1]` of every array of tokens, and its state is at
/// `slots[i]` of the pool, each slot at most once, except `MAMBA_SLOT_PADDING`.
///
/// # Safety
/// `offsets` points to `sequences + 1` elements, `slots` to `sequences`. `out` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_batch_new(
    offsets: *const usize,
    slots: *const u32,
    sequences: usize,
    out: *mut *mut MambaBatch,
) -> MambaStatus {
    const OP: &str = "mamba_batch_new";
    let make = || {
        let fits =
            sequences.checked_add(1).filter(|&count| count <= isize::MAX as usize / size_of::<usize>());
        let count =
            fits.ok_or_else(|| Error::argument(OP, "sequences", "a number that fits in memory", sequences))?;
        if offsets.is_null() || !offsets.is_aligned() {
            return Err(Error::argument(OP, "offsets", "an aligned array", format_args!("{offsets:?}")));
        }
        // SAFETY: `offsets` is not null, aligned, of a size that fits, and points to `count` elements.
        let offsets = unsafe { std::slice::from_raw_parts(offsets, count) };
        let mut arrays = Arrays::new(OP);
        // SAFETY: `slots` is null or points to `sequences` elements, which nothing writes to during the call.
        let slots = unsafe { arrays.tokens("slots", MambaTokens { data: slots, len: sequences }) }?;
        let mut copied = Vec::new();
        let no_memory = |_| Error::OutOfMemory { op: OP, elements: sequences, dtype: "u32" };
        copied.try_reserve_exact(sequences).map_err(no_memory)?;
        copied.extend(slots.iter().map(|&slot| Slot::new(slot)));
        Ok(MambaBatch(Batch::new(offsets, &copied)?))
    };
    // SAFETY: `out` is null or may be written.
    guarded(|| unsafe { give(OP, out, make) })
}

/// Frees a batch. Null is allowed.
///
/// # Safety
/// `batch` is null, or a live handle that no call uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_batch_free(batch: *mut MambaBatch) {
    // SAFETY: `batch` is null, or a live handle that nothing uses any more.
    unsafe { free(batch) }
}

/// Packs a weight matrix `[out_features, in_features]`, PyTorch's layout, for `cpu`. It is copied and keeps its type,
/// one of `MAMBA_DTYPE_*`. A backend for another instruction set refuses it.
///
/// # Safety
/// `cpu` is null or a live handle, `weight` describes elements of `dtype`, `out` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_weights_pack(
    cpu: *const MambaCpu,
    dtype: u32,
    weight: MambaRows,
    out: *mut *mut MambaWeights,
) -> MambaStatus {
    const OP: &str = "mamba_weights_pack";
    let make = || {
        // SAFETY: `cpu` is null or a live handle.
        let cpu = unsafe { handle(OP, "cpu", cpu) }?;
        let mut arrays = Arrays::new(OP);
        with_dtype!(OP, "dtype", dtype, T => {
            // SAFETY: `weight` describes elements of `T`, which nothing writes to during the call.
            let weight = unsafe { arrays.required_rows::<T>("weight", weight) }?;
            Ok(MambaWeights(cpu.cpu.pack(weight)?))
        })
    };
    // SAFETY: `out` is null or may be written.
    guarded(|| unsafe { give(OP, out, make) })
}

/// Frees packed weights. Null is allowed.
///
/// # Safety
/// `weights` is null, or a live handle that no call uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_weights_free(weights: *mut MambaWeights) {
    // SAFETY: `weights` is null, or a live handle that nothing uses any more.
    unsafe { free(weights) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_that_are_never_given_back_do_not_stop_a_child() {
        let cpu = Cpu::builder().threads(1).build().unwrap();
        let cpu = MambaCpu { cpu, description: CString::default(), workspaces: Mutex::default() };
        let _held = cpu.workspaces.lock().unwrap();
        assert_eq!(cpu.with_workspace(|_, _| Ok(())), Ok(()));
    }
}
