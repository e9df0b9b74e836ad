//! Large pages, and in them the memory of packed weights, filled by one array after the other.
//!
//! Weights that are read once per token come from memory about a quarter faster in large pages: the hardware's prefetch
//! stops at the end of a page, and finding a page costs a walk. An array that ends is followed by the next that was
//! packed, so that small matrices lie in large pages too and what is asked for ahead is what comes next.

use super::aligned::Aligned;
use crate::arrays::Result;
use crate::arrays::Scalar;
#[cfg(target_os = "linux")]
use std::sync::{Arc, Mutex, Weak};

/// Arrays below so many bytes stay on the heap.
#[cfg(target_os = "linux")]
const SMALL: usize = 64 << 10;
/// A large page on x86-64, and on aarch64 with pages of 4 KiB.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;
/// Addresses that are reserved at once. Memory is taken page by page, as it is written.
#[cfg(target_os = "linux")]
const REGION: usize = 64 << 20;
/// A cache line: how arrays are aligned.
#[cfg(target_os = "linux")]
const LINE: usize = 64;

/// Where a backend and its clones put the weights that they pack.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// The region that is being filled, and how far it is. Its arrays alone keep it.
    #[cfg(target_os = "linux")]
    current: Mutex<(Weak<Region>, usize)>,
}

/// An array of its own that was taken from [`Pages`], zero at first.
pub(crate) enum Array<T> {
    Heap(Aligned<T>),
    #[cfg(target_os = "linux")]
    InRegion(Part<T>),
}

impl Pages {
    /// `len` zeros that start at a cache line.
    pub(crate) fn zeros<T: Scalar>(&self, op: &'static str, len: usize) -> Result<Array<T>> {
        #[cfg(target_os = "linux")]
        if let Some(part) = len.checked_mul(size_of::<T>()).and_then(|bytes| self.part(bytes, len)) {
            return Ok(Array::InRegion(part));
        }
        Ok(Array::Heap(Aligned::zeros(op, len)?))
    }

    /// `None` where the array is small or the system gives no region.
    #[cfg(target_os = "linux")]
    fn part<T>(&self, bytes: usize, len: usize) -> Option<Part<T>> {
        if bytes < SMALL {
            return None;
        }
        let bytes = bytes.checked_next_multiple_of(LINE)?;
        // whoever panicked while holding it left a region and a place in it, as always
        let mut current = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (region, used) = &mut *current;
        let there = region.upgrade().filter(|region| bytes <= region.bytes - *used);
        let there = match there {
            Some(there) => there,
            None => {
                let new = Arc::new(Region::map(bytes.max(REGION))?);
                (*region, *used) = (Arc::downgrade(&new), 0);
                new
            }
        };
        let start = there.start.wrapping_add(*used).cast();
        *used += bytes;
        Some(Part { start, len, _region: there })
    }
}

/// Asks for large pages for what a vector has room for and has not been written yet. Nothing but speed depends on it.
pub(crate) fn ask_for_large_pages<T>(vec: &Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let bytes = vec.capacity() * size_of::<T>();
        if bytes < 2 * LARGE_PAGE {
            return;
        }
        // SAFETY: the memory is the vector's.
        unsafe { advise(vec.as_ptr().cast(), bytes) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = vec;
}

/// Asks for large pages for the whole pages of some memory. The advice keeps what they hold. It may be refused: then pages
/// are small.
///
/// # Safety
/// The memory is the caller's.
#[cfg(target_os = "linux")]
unsafe fn advise(start: *const u8, bytes: usize) {
    // SAFETY: no memory is involved.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(LARGE_PAGE).max(1);
    // what lies beside the memory, in its first and its last page, is another's
    let skipped = start.addr().next_multiple_of(page) - start.addr();
    let len = bytes.saturating_sub(skipped) / page * page;
    // SAFETY: the caller's promise.
    unsafe { libc::madvise(start.wrapping_add(skipped).cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
}

impl<T: Scalar> Array<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Array::Heap(array) => array.as_slice(),
            #[cfg(target_os = "linux")]
            // SAFETY: the part is `len` numbers of its region, zeros or what was written; any bits are a number.
            Array::InRegion(part) => unsafe { std::slice::from_raw_parts(part.start, part.len) },
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Array::Heap(array) => array.as_mut_slice(),
            #[cfg(target_os = "linux")]
            // SAFETY: as above, and no other array has this part.
            Array::InRegion(part) => unsafe { std::slice::from_raw_parts_mut(part.start, part.len) },
        }
    }
}

impl<T> std::fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Array").finish_non_exhaustive()
    }
}

/// Some numbers of a region.
#[cfg(target_os = "linux")]
pub(crate) struct Part<T> {
    start: *mut T,
    len: usize,
    /// Keeps the memory.
    _region: Arc<Region>,
}

// SAFETY: a part is the only one that points to its numbers, as a vector would be.
#[cfg(target_os = "linux")]
unsafe impl<T: Send> Send for Part<T> {}
// SAFETY: as above; a shared part is only read.
#[cfg(target_os = "linux")]
unsafe impl<T: Sync> Sync for Part<T> {}

/// Zeroed memory that starts at a large page.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Region {
    start: *mut u8,
    bytes: usize,
    /// What the system gave, in which the region lies.
    mapping: (*mut libc::c_void, usize),
}

// SAFETY: the pointers are addresses here; nothing is read or written through a region.
#[cfg(target_os = "linux")]
unsafe impl Send for Region {}
// SAFETY: as above.
#[cfg(target_os = "linux")]
unsafe impl Sync for Region {}

#[cfg(target_os = "linux")]
impl Region {
    /// At least `bytes`, or `None` where the system does not give them.
    fn map(bytes: usize) -> Option<Region> {
        let bytes = bytes.checked_next_multiple_of(LARGE_PAGE)?;
        let len = bytes.checked_add(LARGE_PAGE)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping touches no memory that there is.
        let mapping = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return None;
        }
        let start = mapping.cast::<u8>();
        let start = start.wrapping_add(start.align_offset(LARGE_PAGE));
        // SAFETY: the memory is the mapping's.
        unsafe { advise(start, bytes) };
        Some(Region { start, bytes, mapping: (mapping, len) })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's, and its parts are gone: each holds the region.
        unsafe { libc::munmap(self.mapping.0, self.mapping.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::Error;

    #[test]
    fn arrays_are_zero_aligned_and_apart() {
        let pages = Pages::default();
        // small, larger than a page, odd, and one that no region holds beside the others
        let lengths = [0, 1, 1000, 20_000, 600_001, 30_000, 17 << 20, 20_000];
        let mut arrays: Vec<_> = lengths.map(|len| pages.zeros::<f32>("test", len).unwrap()).into();
        for (i, (array, len)) in arrays.iter_mut().zip(lengths).enumerate() {
            let numbers = array.as_mut_slice();
            assert_eq!((numbers.len(), numbers.as_ptr().addr() % 64), (len, 0));
            assert!(numbers.iter().all(|&x| x == 0.0), "array {i}");
            numbers.fill(1.0 + i as f32);
        }
        drop(pages);
        arrays.remove(4); // the others stay
        for (array, value) in arrays.iter().zip([1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0]) {
            assert!(array.as_slice().iter().all(|&x| x == value));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_region_goes_with_its_last_array() {
        let pages = Pages::default();
        let regions = || pages.current.lock().unwrap().0.strong_count();
        let arrays = [SMALL, SMALL].map(|len| pages.zeros::<f32>("test", len).unwrap());
        assert_eq!(regions(), 2);
        drop(arrays);
        assert_eq!(regions(), 0);
        assert!(pages.zeros::<f32>("test", SMALL).unwrap().as_slice().iter().all(|&x| x == 0.0));
    }

    #[test]
    fn memory_that_cannot_be_had() {
        let refused = Pages::default().zeros::<f32>("test", isize::MAX as usize / 4);
        assert!(matches!(refused, Err(Error::OutOfMemory { .. })), "{refused:?}");
        assert!(Pages::default().zeros::<u32>("test", usize::MAX).is_err());
    }
}
