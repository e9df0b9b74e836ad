//! Where the benchmarks write their results.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where cargo puts what it builds: this program is in `release/deps` of it.
pub fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the system knows this program's path");
    program.ancestors().nth(3).expect("cargo runs it from target/release/deps").to_path_buf()
}

/// Writes a list, a line for each of its values.
pub fn write_list(path: &Path, values: &[Value]) {
    let lines: Vec<String> = values.iter().map(Value::to_string).collect();
    std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n")))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    println!("wrote {}", path.display());
}
