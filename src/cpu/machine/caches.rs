//! [`Caches`]: the sizes of the data caches, asked for once per process.
//!
//! An x86-64 CPU tells them itself, also in a container. Elsewhere Linux may, in `/sys`. What nobody tells is assumed,
//! and what cannot be true is corrected: sizes change the speed of a product, never its result.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

/// The caches of a CPU for data, in bytes, and how many CPUs share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caches {
    /// The L1 data cache.
    pub l1: usize,
    /// The L2 cache, and the CPUs that share it: the threads of a core, or a cluster of cores.
    pub l2: usize,
    /// See [`Caches::l2`].
    pub l2_cpus: usize,
    /// The L3 cache, 0 if there is none, and the CPUs that share it.
    pub l3: usize,
    /// See [`Caches::l3`].
    pub l3_cpus: usize,
    /// The CPUs that this process may use. To ask the system takes longer than a small call of an op.
    pub(in crate::cpu) process_cpus: usize,
}

/// A cache: its bytes, and the CPUs that share it.
type Cache = (usize, usize);

/// What is assumed of a CPU that tells nothing: as little as any of the last ten years has.
const ASSUMED: [Cache; 3] = [(32 << 10, 1), (256 << 10, 1), (0, 1)];

/// What a size may be. Others are taken for errors of the system or of an emulator.
const POSSIBLE: [RangeInclusive<usize>; 3] = [4 << 10..=2 << 20, 64 << 10..=256 << 20, 256 << 10..=16 << 30];

/// The most CPUs that a cache may be shared by.
const MOST_CPUS: usize = 4096;

impl Caches {
    /// Those of this machine.
    pub(in crate::cpu) fn of_this_machine() -> Self {
        static FOUND: OnceLock<Caches> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let told = told_by_cpu();
            Self::new(if told == [None; 3] { told_by_system() } else { told })
        })
    }

    fn new(told: [Option<Cache>; 3]) -> Self {
        let level = |i: usize| {
            let possible = |&(size, _): &Cache| POSSIBLE[i].contains(&size);
            let (size, cpus) = told[i].filter(possible).unwrap_or(ASSUMED[i]);
            (size, cpus.clamp(1, MOST_CPUS))
        };
        let [(l1, _), (l2, l2_cpus), (l3, l3_cpus)] = [level(0), level(1), level(2)];
        let process_cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        Self { l1, l2, l2_cpus, l3, l3_cpus, process_cpus }
    }

    /// The part of the L2 cache that a thread has to itself if every CPU has a thread.
    pub(in crate::cpu) fn l2_of_a_cpu(self) -> usize {
        if self.l2_cpus <= 1 { self.l2 } else { self.l2 / self.l2_cpus }
    }

    /// The part of the L3 cache that this process has, if others use the CPUs that it may not use. 0 without one.
    pub(in crate::cpu) fn l3_of_this_process(self) -> usize {
        // first divided: the product of both may not fit
        let cpus = self.process_cpus.clamp(1, self.l3_cpus.max(1));
        if cpus >= self.l3_cpus { self.l3 } else { self.l3 / self.l3_cpus * cpus }
    }
}

impl fmt::Display for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: usize| match bytes {
            ..0x10_0000 => format!("{} KiB", bytes >> 10),
            _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
            _ => format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
        };
        let shared = |cpus: usize| if cpus > 1 { format!(" shared by {cpus} CPUs") } else { String::new() };
        write!(f, "L1 {}, L2 {}{}", size(self.l1), size(self.l2), shared(self.l2_cpus))?;
        match self.l3 {
            0 => write!(f, ", no L3"),
            l3 => write!(f, ", L3 {}{}", size(l3), shared(self.l3_cpus)),
        }
    }
}

/// By the instruction CPUID. Elsewhere nothing.
#[cfg(not(target_arch = "x86_64"))]
fn told_by_cpu() -> [Option<Cache>; 3] {
    [None; 3]
}

/// By the instruction CPUID: leaf 4 on Intel, leaf 0x8000001D of the same form on AMD.
#[cfg(target_arch = "x86_64")]
fn told_by_cpu() -> [Option<Cache>; 3] {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // SAFETY: every x86-64 CPU has the instruction; a leaf that it lacks gives numbers without a meaning, which are not
    // used or are corrected.
    #[allow(unused_unsafe, reason = "later versions of Rust have made it safe")]
    let (basic, extended, features, count) = unsafe {
        let extended = __cpuid(0x8000_0000).eax;
        let features = if extended >= 0x8000_0001 { __cpuid(0x8000_0001).ecx } else { 0 };
        let count = |leaf, index| {
            let leaf = __cpuid_count(leaf, index);
            [leaf.eax, leaf.ebx, leaf.ecx]
        };
        (__cpuid(0).eax, extended, features, count)
    };
    const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
    let leaf = match () {
        () if extended >= 0x8000_001d && features & TOPOLOGY_EXTENSIONS != 0 => 0x8000_001d,
        () if basic >= 4 => 4,
        () => return [None; 3],
    };
    let mut told = [None; 3];
    for index in 0..16 {
        match cpuid_cache(count(leaf, index)) {
            None => break,
            Some((level @ 1..=3, cache)) => told[level - 1] = Some(cache),
            Some(_) => {}
        }
    }
    told
}

/// The level of the cache that EAX, EBX and ECX describe, or 0 for one of instructions. `None` if there is no more.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "of another architecture"))]
fn cpuid_cache([eax, ebx, ecx]: [u32; 3]) -> Option<(usize, Cache)> {
    const INSTRUCTIONS: u32 = 2;
    let kind = eax & 31;
    if kind == 0 {
        return None;
    }
    let level = if kind == INSTRUCTIONS { 0 } else { (eax >> 5 & 7) as usize };
    let one_more = |bits: u32| bits as usize + 1;
    let (ways, partitions, line) = (one_more(ebx >> 22), one_more(ebx >> 12 & 0x3ff), one_more(ebx & 0xfff));
    let bytes = [partitions, line, one_more(ecx)].into_iter().fold(ways, usize::saturating_mul);
    Some((level, (bytes, one_more(eax >> 14 & 0xfff))))
}

/// By Linux, for the first CPU. On other systems the files do not exist.
fn told_by_system() -> [Option<Cache>; 3] {
    let mut told = [None; 3];
    for index in 0..8 {
        let read = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
            std::fs::read_to_string(path).ok()
        };
        let Some((level, cache)) = system_cache(read) else { continue };
        told[level - 1] = Some(cache);
    }
    told
}

/// A cache for data and its level, from the contents of its files.
fn system_cache(read: impl Fn(&str) -> Option<String>) -> Option<(usize, Cache)> {
    let level = read("level")?.trim().parse().ok().filter(|level| (1..=3).contains(level))?;
    if read("type")?.trim() == "Instruction" {
        return None;
    }
    let size = read("size")?;
    let size = size.trim();
    let unit = match size.chars().last()? {
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        _ => 1,
    };
    let size = size.trim_end_matches(['K', 'M', 'G']).parse::<usize>().ok()?.checked_mul(unit)?;
    let cpus = read("shared_cpu_list").map_or(1, |list| listed(list.trim()));
    Some((level, (size, cpus)))
}

/// The number of CPUs in a list such as `0-3,8`; 1 if it is none.
fn listed(list: &str) -> usize {
    let count = |part: &str| -> Option<usize> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    list.split(',').map(count).try_fold(0usize, |sum, count| sum.checked_add(count?)).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_machine_they_are_possible() {
        let Caches { l1, l2, l2_cpus, l3, l3_cpus, .. } = Caches::of_this_machine();
        assert!(POSSIBLE[0].contains(&l1) && POSSIBLE[1].contains(&l2), "{l1} {l2}");
        assert!(l3 == 0 || POSSIBLE[2].contains(&l3), "{l3}");
        assert!(l2_cpus >= 1 && l3_cpus >= 1);
    }

    /// Registers of an EPYC 9004: L1d, L1i, L2, L3, none.
    #[test]
    fn registers_of_cpuid() {
        assert_eq!(cpuid_cache([0x121, 0x01c0_003f, 63]), Some((1, (32 << 10, 1))));
        assert_eq!(cpuid_cache([0x122, 0x01c0_003f, 63]), Some((0, (32 << 10, 1))));
        assert_eq!(cpuid_cache([0x143, 0x01c0_003f, 0x7ff]), Some((2, (1 << 20, 1))));
        assert_eq!(cpuid_cache([0x4163, 0x03c0_003f, 0x7fff]), Some((3, (32 << 20, 2))));
        assert_eq!(cpuid_cache([0, 0, 0]), None);
        assert!(cpuid_cache([u32::MAX; 3]).is_some(), "nonsense is no panic");
    }

    #[test]
    fn files_of_linux() {
        let file = |level: &'static str, kind: &'static str, size: &'static str, list: &'static str| {
            system_cache(move |name| {
                let text = match name {
                    "level" => level,
                    "type" => kind,
                    "size" => size,
                    _ => list,
                };
                (!text.is_empty()).then(|| format!("{text}\n"))
            })
        };
        assert_eq!(file("1", "Data", "48K", "0,32"), Some((1, (48 << 10, 2))));
        assert_eq!(file("2", "Unified", "1280K", ""), Some((2, (1280 << 10, 1))));
        assert_eq!(file("3", "Unified", "32M", "0-7,64-71"), Some((3, (32 << 20, 16))));
        assert_eq!(file("1", "Instruction", "32K", "0"), None);
        for (level, size) in [("0", "32K"), ("4", "32K"), ("x", "32K"), ("1", ""), ("1", "K"), ("1", "-1K")] {
            assert_eq!(file(level, "Data", size, "0"), None, "{level} {size}");
        }
        for list in ["x", "3-1", "0-18446744073709551615", ",", ""] {
            assert_eq!(listed(list), 1, "{list}");
        }
    }

    #[test]
    fn what_cannot_be_true_is_corrected() {
        let assumed = Caches::new([None; 3]);
        assert_eq!((assumed.l1, assumed.l2, assumed.l3), (32 << 10, 256 << 10, 0));
        assert_eq!(assumed.l3_of_this_process(), 0);
        let wrong = [Some((0, 0)), Some((usize::MAX, usize::MAX)), Some((1, 0))];
        assert_eq!(Caches::new(wrong), assumed);
        let shared = Caches::new([None, Some((2 << 20, 0)), Some((64 << 20, usize::MAX))]);
        assert_eq!((shared.l2_of_a_cpu(), shared.l3_cpus), (2 << 20, MOST_CPUS));
        assert!(shared.l3_of_this_process() <= 64 << 20);
    }

    #[test]
    fn parts_of_shared_caches() {
        let caches = Caches { l1: 1, l2: 2 << 20, l2_cpus: 2, l3: 32 << 20, l3_cpus: 16, process_cpus: 4 };
        assert_eq!((caches.l2_of_a_cpu(), caches.l3_of_this_process()), (1 << 20, 8 << 20));
        for (process_cpus, part) in [(0, 2 << 20), (16, 32 << 20), (64, 32 << 20)] {
            assert_eq!(Caches { process_cpus, ..caches }.l3_of_this_process(), part);
        }
        assert_eq!(Caches { l2_cpus: 0, l3_cpus: 0, ..caches }.l3_of_this_process(), 32 << 20);
    }

    #[test]
    fn in_words() {
        let (l1, l2, l3) = (48 << 10, 1280 << 10, 48 << 20);
        let caches = Caches { l1, l2, l2_cpus: 2, l3, l3_cpus: 32, process_cpus: 2 };
        let expected = "L1 48 KiB, L2 1.25 MiB shared by 2 CPUs, L3 48 MiB shared by 32 CPUs";
        assert_eq!(caches.to_string(), expected);
        assert_eq!(Caches::new([None; 3]).to_string(), "L1 32 KiB, L2 256 KiB, no L3");
    }
}
