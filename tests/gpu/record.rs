//! Results as JSON lines, written as they come: what was written before a run is cut off stays.

use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The file named by `RESULTS`, or standard output.
pub struct Records {
    file: Option<Mutex<File>>,
    failed: AtomicUsize,
}

impl Records {
    pub fn new() -> Self {
        let open =
            |path| OpenOptions::new().create(true).append(true).open(path).expect("the file of RESULTS");
        let file = std::env::var_os("RESULTS").map(|path| Mutex::new(open(path)));
        Self { file, failed: AtomicUsize::new(0) }
    }

    /// Writes one line.
    pub fn write(&self, record: &Value) {
        match &self.file {
            Some(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                writeln!(file, "{record}").expect("a line of results");
            }
            None => println!("{record}"),
        }
    }

    /// Runs a check, which fails by a panic, and writes what came of it. Whether it passed.
    pub fn check(&self, name: &str, check: impl FnOnce()) -> bool {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(check));
        let seconds = (start.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let (status, detail) = match &result {
            Ok(()) => ("ok", String::new()),
            Err(panic) => ("failed", said(&**panic)),
        };
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!("FAILED: {name}: {detail}");
        }
        let record =
            json!({"part": "check", "name": name, "status": status, "seconds": seconds, "detail": detail});
        self.write(&record);
        result.is_ok()
    }

    /// Checks that have failed.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    text.unwrap_or_else(|| "a panic without a message".into())
}
