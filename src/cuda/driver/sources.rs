//! The sources of the kernels, as part of the crate.
#![forbid(unsafe_code)]

/// The file that includes all others.
pub(super) const MAIN: &str = "kernels.cu";

macro_rules! sources {
    ($($name:literal),+ $(,)?) => {
        /// All files, by their path in `cuda/`, which is how they include each other.
        pub(super) const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../cuda/", $name)))),+];
    };
}

sources![
    "args.h",
    "argmax/argmax.cu",
    "causal_conv1d/channels.cuh",
    "causal_conv1d/forward.cu",
    "common.cuh",
    "embedding/forward.cu",
    "kernels.cu",
    "linear/convert.cu",
    "linear/epilogue.cuh",
    "linear/exact.cu",
    "linear/few_rows.cu",
    "linear/tensor_cores.cu",
    "math.cuh",
    "ptx.cuh",
    "rms_norm/forward.cu",
    "selective_scan/combine.cu",
    "selective_scan/finish.cuh",
    "selective_scan/forward.cu",
    "selective_scan/load.cuh",
    "selective_scan/recur.cuh",
    "selective_scan/tile.cuh",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn collect(root: &Path, dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "executor" {
                    collect(root, &path, found);
                }
            } else if path.extension().is_some_and(|it| ["cu", "cuh", "h"].iter().any(|known| it == *known)) {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.push(name.replace(std::path::MAIN_SEPARATOR, "/"));
            }
        }
    }

    /// Every file of `cuda/` that the kernels are made of is in the list.
    #[test]
    fn all_sources_are_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let mut found = Vec::new();
        collect(&root, &root, &mut found);
        let mut listed: Vec<_> = SOURCES.iter().map(|(name, _)| name.to_string()).collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
    }
}
