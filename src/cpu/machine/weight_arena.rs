//! [`WeightArena`]: the memory of packed weights, in huge pages, one matrix after the other.
//!
//! Weights that are read once per token stream from memory about a quarter faster in huge pages. Matrices are packed
//! back to back: small ones share a huge page, and prefetching past the end of one fetches the start of the next.

use super::aligned::Aligned;
use crate::arrays::Result;
#[cfg(target_os = "linux")]
use crate::arrays::huge_pages::{HUGE_PAGE, advise};
#[cfg(target_os = "linux")]
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};

/// Matrices below this many bytes stay on the heap.
#[cfg(target_os = "linux")]
const SMALL: usize = 64 << 10;
/// Addresses that are reserved at once. The system provides memory page by page, as it is written.
#[cfg(target_os = "linux")]
const MAPPING: usize = 64 << 20;
/// Attempts to lock the arena, which others hold for some microseconds, before a matrix goes to the heap.
#[cfg(target_os = "linux")]
const TRIES: usize = 1000;
/// A cache line: the alignment of a matrix.
#[cfg(target_os = "linux")]
const LINE: usize = 64;

/// Where a backend and its clones put the weights that they pack.
#[derive(Debug, Default)]
pub(in crate::cpu) struct WeightArena {
    /// The mapping that is being filled, and how far. Only its slices keep it alive.
    #[cfg(target_os = "linux")]
    current: Mutex<(Weak<Mapping>, usize)>,
}

/// The bytes of a packed matrix, aligned to a cache line, zero at first. Dropped, they are freed with their mapping.
pub(in crate::cpu) enum PackedBytes {
    Heap {
        words: Aligned<u32>,
        len: usize,
    },
    #[cfg(target_os = "linux")]
    Mapped(ArenaSlice),
}

impl WeightArena {
    /// `len` zero bytes that start at a cache line.
    pub fn zeros(&self, op: &'static str, len: usize) -> Result<PackedBytes> {
        #[cfg(target_os = "linux")]
        if let Some(slice) = self.slice(len) {
            return Ok(PackedBytes::Mapped(slice));
        }
        Ok(PackedBytes::Heap { words: Aligned::zeros(op, len.div_ceil(4))?, len })
    }

    /// `None` if another thread has it for long: one that held it during a `fork` never gives it back in the child.
    #[cfg(target_os = "linux")]
    fn lock(&self) -> Option<MutexGuard<'_, (Weak<Mapping>, usize)>> {
        for _ in 0..TRIES {
            match self.current.try_lock() {
                Ok(current) => return Some(current),
                // harmless: the fields are always consistent
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        None
    }

    /// `None` if the matrix is small, the system grants no mapping, or the lock cannot be had.
    #[cfg(target_os = "linux")]
    fn slice(&self, len: usize) -> Option<ArenaSlice> {
        if len < SMALL {
            return None;
        }
        let bytes = len.checked_next_multiple_of(LINE)?;
        let mut current = self.lock()?;
        let (mapping, used) = &mut *current;
        let fits = mapping.upgrade().filter(|mapping| bytes <= mapping.bytes - *used);
        let mapping = match fits {
            Some(fits) => fits,
            None => {
                let new = Arc::new(Mapping::new(bytes.max(MAPPING))?);
                (*mapping, *used) = (Arc::downgrade(&new), 0);
                new
            }
        };
        let start = mapping.start.wrapping_add(*used);
        *used += bytes;
        Some(ArenaSlice { start, len, _mapping: mapping })
    }
}

impl PackedBytes {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            PackedBytes::Heap { words, len } => &bytemuck::cast_slice(words.as_slice())[..*len],
            #[cfg(target_os = "linux")]
            // SAFETY: the slice has `len` bytes of its mapping to itself; they are zeros or what was written.
            PackedBytes::Mapped(slice) => unsafe { std::slice::from_raw_parts(slice.start, slice.len) },
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            PackedBytes::Heap { words, len } => &mut bytemuck::cast_slice_mut(words.as_mut_slice())[..*len],
            #[cfg(target_os = "linux")]
            // SAFETY: as in `as_slice`; no other slice overlaps this one.
            PackedBytes::Mapped(slice) => unsafe { std::slice::from_raw_parts_mut(slice.start, slice.len) },
        }
    }
}

impl std::fmt::Debug for PackedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedBytes").field("len", &self.as_slice().len()).finish_non_exhaustive()
    }
}

/// Some bytes of a mapping.
#[cfg(target_os = "linux")]
pub(in crate::cpu) struct ArenaSlice {
    start: *mut u8,
    len: usize,
    /// Keeps the memory mapped.
    _mapping: Arc<Mapping>,
}

// SAFETY: a slice is the only owner of its bytes, as a vector would be.
#[cfg(target_os = "linux")]
unsafe impl Send for ArenaSlice {}
// SAFETY: a shared slice is only read.
#[cfg(target_os = "linux")]
unsafe impl Sync for ArenaSlice {}

/// Zeroed memory that starts at a huge page.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Mapping {
    start: *mut u8,
    bytes: usize,
    /// The address and length that the system returned, in which `start..start + bytes` lies.
    whole: (*mut libc::c_void, usize),
}

// SAFETY: nothing is read or written through a mapping itself.
#[cfg(target_os = "linux")]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[cfg(target_os = "linux")]
unsafe impl Sync for Mapping {}

#[cfg(target_os = "linux")]
impl Mapping {
    /// At least `bytes`, or `None` if the system does not grant them.
    fn new(bytes: usize) -> Option<Mapping> {
        let bytes = bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let len = bytes.checked_add(HUGE_PAGE)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches no existing memory.
        let whole = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        if whole == libc::MAP_FAILED {
            return None;
        }
        let start = whole.cast::<u8>();
        let start = start.wrapping_add(start.align_offset(HUGE_PAGE));
        // SAFETY: the bytes lie in the new mapping: one huge page more than `bytes` leaves room to align `start`.
        unsafe { advise(start, bytes) };
        Some(Mapping { start, bytes, whole: (whole, len) })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what `mmap` returned, and every slice of it is gone, since each holds the mapping.
        unsafe { libc::munmap(self.whole.0, self.whole.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::Error;

    #[test]
    fn matrices_are_zero_aligned_and_apart() {
        let arena = WeightArena::default();
        // small, larger than a page, odd, and one that shares no mapping with the others
        let lengths = [0, 1, 4001, 80_000, 2_400_001, 120_000, 68 << 20, 80_000];
        let mut matrices: Vec<_> = lengths.map(|len| arena.zeros("test", len).unwrap()).into();
        for (i, (matrix, len)) in matrices.iter_mut().zip(lengths).enumerate() {
            let bytes = matrix.as_mut_slice();
            assert_eq!((bytes.len(), bytes.as_ptr().addr() % 64), (len, 0));
            assert!(bytes.iter().all(|&x| x == 0), "matrix {i}");
            bytes.fill(1 + i as u8);
        }
        drop(arena);
        matrices.remove(4); // the others stay
        for (matrix, value) in matrices.iter().zip([1, 2, 3, 4, 6, 7, 8]) {
            assert!(matrix.as_slice().iter().all(|&x| x == value));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mapping_goes_with_its_last_slice() {
        let arena = WeightArena::default();
        let slices = || arena.current.lock().unwrap().0.strong_count();
        let matrices = [SMALL, SMALL].map(|len| arena.zeros("test", len).unwrap());
        assert_eq!(slices(), 2);
        drop(matrices);
        assert_eq!(slices(), 0);
        assert!(arena.zeros("test", SMALL).unwrap().as_slice().iter().all(|&x| x == 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_lock_that_is_never_given_back_does_not_stop_a_child() {
        let arena = WeightArena::default();
        let _held = arena.current.lock().unwrap();
        assert!(matches!(arena.zeros("test", SMALL).unwrap(), PackedBytes::Heap { .. }));
    }

    #[test]
    fn more_memory_than_exists_is_an_error() {
        let refused = WeightArena::default().zeros("test", isize::MAX as usize);
        assert!(matches!(refused, Err(Error::OutOfMemory { .. })), "{refused:?}");
        assert!(WeightArena::default().zeros("test", usize::MAX).is_err());
    }
}
