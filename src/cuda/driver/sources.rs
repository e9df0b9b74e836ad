//! The sources of the kernels, as part of the crate.
#![forbid(unsafe_code)]

/// The file that includes all others.
pub(super) const MAIN: &str = "kernels.cu";

/// All files, by their path in `cuda/`, which is how they include each other. `build.rs` lists them.
pub(super) const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/cuda_sources.rs"));

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
}
