//! The sources of the kernels, as part of the crate.
#![forbid(unsafe_code)]

/// The file that includes all others.
pub(super) const MAIN: &str = "kernels.cu";

/// All files, by their path in `cuda/`, which is how they include each other. `build.rs` lists them.
pub(super) const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/cuda_sources.rs"));

/// FNV-1a of all names and texts, each followed by a zero byte. A prebuilt image holds that of its own sources.
pub(super) const FINGERPRINT: u64 = fingerprint();

const fn fingerprint() -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < SOURCES.len() {
        hash = hashed(hashed(hash, SOURCES[i].0.as_bytes()), SOURCES[i].1.as_bytes());
        i += 1;
    }
    hash
}

/// FNV-1a of `bytes` and a zero byte, after what `hash` already stands for.
const fn hashed(mut hash: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x100_0000_01b3;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(PRIME);
        i += 1;
    }
    hash.wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that a source includes is in the list.
    #[test]
    fn all_includes_are_listed() {
        let names: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&MAIN) && names.len() > 10);
        for (file, text) in SOURCES {
            for included in text.lines().filter_map(|line| line.trim().strip_prefix("#include \"")) {
                let included = included.trim_end_matches('"');
                assert!(names.contains(&included), "{file} includes {included}");
            }
        }
    }

    /// The hash is FNV-1a, which `scripts/cuda_kernels.py` computes too.
    #[test]
    fn the_fingerprint_is_fnv_1a() {
        // of "a" it is af63dc4c8601ec8c; the zero byte after it multiplies once more
        let a = 0xaf63_dc4c_8601_ec8c_u64;
        assert_eq!(hashed(0xcbf2_9ce4_8422_2325, b"a"), a.wrapping_mul(0x100_0000_01b3));
        assert!(SOURCES.is_sorted());
    }
}
