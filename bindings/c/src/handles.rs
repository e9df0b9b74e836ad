//! What the library owns: the CPU backend, batches and packed weights, behind opaque pointers.

use crate::arrays::{Arrays, MambaRows};
use crate::ops::by_dtype;
use crate::status::{MambaStatus, argument, guarded};
use kernels::cpu::{Isa, PackedWeights, Workspace};
use kernels::{Backend, Batch, Cpu, Error, Result, Slot};
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, PoisonError};

/// The CPU backend: an instruction set and threads.
pub struct MambaCpu {
    pub(crate) cpu: Cpu,
    description: CString,
    workspaces: Mutex<Vec<Workspace>>, // one per call that runs at the same time
}

impl MambaCpu {
    /// Runs an op with a workspace that no other call uses.
    pub(crate) fn with_workspace(&self, op: impl FnOnce(&Cpu, &mut Workspace) -> Result<()>) -> Result<()> {
        let pool = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = pool().pop();
        let mut workspace = taken.unwrap_or_default();
        let result = op(&self.cpu, &mut workspace);
        pool().push(workspace);
        result
    }
}

/// Where the sequences of a call lie in its arrays, and the slot of each in the state pool.
pub struct MambaBatch(pub(crate) Batch);

/// A weight matrix, packed for one instruction set.
pub struct MambaWeights(pub(crate) PackedWeights);

/// A handle that must be there.
///
/// # Safety
/// `pointer` is null or of a live handle of this library, during `'a`.
pub(crate) unsafe fn handle<'a, T>(op: &'static str, name: &'static str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: as the caller says.
    unsafe { pointer.as_ref() }.ok_or_else(|| argument(op, name, "a handle", "a null pointer"))
}

/// Gives a new handle to the caller.
///
/// # Safety
/// `out` is null or to a pointer that may be written.
unsafe fn give<T>(op: &'static str, out: *mut *mut T, make: impl FnOnce() -> Result<T>) -> Result<()> {
    if out.is_null() {
        return Err(argument(op, "out", "where the handle goes", "a null pointer"));
    }
    // SAFETY: not null, and writable as the caller says; what was there may be no valid pointer and is not read.
    unsafe { out.write(std::ptr::null_mut()) };
    let value = Box::into_raw(Box::new(make()?));
    // SAFETY: as above.
    unsafe { out.write(value) };
    Ok(())
}

/// Frees a handle.
///
/// # Safety
/// `pointer` is null or of a live handle of this library that no one uses any more.
unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // the handles' destructors do not panic; should one, its memory is lost and nothing else
        guarded(|| {
            // SAFETY: `give` made it with `Box::into_raw`, and the caller gives it up.
            drop(unsafe { Box::from_raw(pointer) });
            Ok(())
        });
    }
}

/// Makes a CPU backend.
///
/// `isa` is `"portable"`, `"avx2"`, `"avx512"` or `"neon"`, or null for the fastest that this machine has. `threads` is
/// the most that a call uses, or 0 for as many as the process has CPUs. Every choice gives the same bits.
///
/// # Safety
/// `isa` is null or a NUL-terminated text. `out` is where the handle goes.
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
            // SAFETY: not null, so a text as the caller says.
            let name = unsafe { CStr::from_ptr(isa) }.to_string_lossy();
            let unknown = || argument(OP, "isa", "portable, avx2, avx512 or neon", format_args!("{name:?}"));
            builder = builder.isa(Isa::from_name(&name).ok_or_else(unknown)?);
        }
        if threads > 0 {
            builder = builder.threads(threads);
        }
        let cpu = builder.build()?;
        let description = CString::new(cpu.description()).unwrap_or_default();
        Ok(MambaCpu { cpu, description, workspaces: Mutex::default() })
    };
    // SAFETY: as the caller says.
    guarded(|| unsafe { give(OP, out, make) })
}

/// One line that names instruction set and threads. It lives as long as the handle. Null for a null handle.
///
/// # Safety
/// `cpu` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_cpu_description(cpu: *const MambaCpu) -> *const c_char {
    // SAFETY: as the caller says.
    unsafe { cpu.as_ref() }.map_or(std::ptr::null(), |cpu| cpu.description.as_ptr())
}

/// Frees a CPU backend. Null is allowed.
///
/// # Safety
/// `cpu` is null or a live handle that no call uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_cpu_free(cpu: *mut MambaCpu) {
    // SAFETY: as the caller says.
    unsafe { free(cpu) }
}

/// Makes a batch: sequence `i` is rows `offsets[i]` to `offsets[i + 1]` of every array of tokens, and its state is at
/// `slots[i]` of the pool, each slot at most once but for `MAMBA_SLOT_PADDING`.
///
/// # Safety
/// `offsets` is to `sequences + 1` elements, `slots` to `sequences`. `out` is where the handle goes.
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
            fits.ok_or_else(|| argument(OP, "sequences", "a number that fits in memory", sequences))?;
        if offsets.is_null() || !offsets.is_aligned() {
            return Err(argument(OP, "offsets", "an aligned array", format_args!("{offsets:?}")));
        }
        // SAFETY: not null, aligned, of a size that fits, and readable as the caller says.
        let offsets = unsafe { std::slice::from_raw_parts(offsets, count) };
        let mut arrays = Arrays::new(OP);
        // SAFETY: as the caller says.
        let slots = unsafe { arrays.tokens("slots", crate::MambaTokens { data: slots, len: sequences }) }?;
        let mut copied = Vec::new();
        let no_memory = |_| Error::OutOfMemory { op: OP, elements: sequences, dtype: "u32" };
        copied.try_reserve_exact(sequences).map_err(no_memory)?;
        copied.extend(slots.iter().map(|&slot| Slot::new(slot)));
        Ok(MambaBatch(Batch::new(offsets, &copied)?))
    };
    // SAFETY: as the caller says.
    guarded(|| unsafe { give(OP, out, make) })
}

/// Frees a batch. Null is allowed.
///
/// # Safety
/// `batch` is null or a live handle that no call uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_batch_free(batch: *mut MambaBatch) {
    // SAFETY: as the caller says.
    unsafe { free(batch) }
}

/// Packs a weight matrix `[out_features, in_features]`, PyTorch's layout, for `cpu`. It is copied and keeps its type,
/// one of `MAMBA_DTYPE_*`. A backend with another instruction set refuses it.
///
/// # Safety
/// `cpu` is a live handle, `weight` is to elements of `dtype`, `out` is where the handle goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_weights_pack(
    cpu: *const MambaCpu,
    dtype: u32,
    weight: MambaRows,
    out: *mut *mut MambaWeights,
) -> MambaStatus {
    const OP: &str = "mamba_weights_pack";
    let make = || {
        // SAFETY: as the caller says.
        let cpu = unsafe { handle(OP, "cpu", cpu) }?;
        let mut arrays = Arrays::new(OP);
        by_dtype!(OP, "dtype", dtype, T => {
            // SAFETY: as the caller says.
            let weight = unsafe { arrays.rows::<T>("weight", weight) }?;
            Ok(MambaWeights(cpu.cpu.pack(arrays.required("weight", weight)?)?))
        })
    };
    // SAFETY: as the caller says.
    guarded(|| unsafe { give(OP, out, make) })
}

/// Frees packed weights. Null is allowed.
///
/// # Safety
/// `weights` is null or a live handle that no call uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_weights_free(weights: *mut MambaWeights) {
    // SAFETY: as the caller says.
    unsafe { free(weights) }
}
