//! `gpu_check`: what `scripts/gpu/run.sh` runs on a machine with a GPU, or for a dry run on the executor's driver.
//!
//! ```text
//! gpu_check PART... [--small] [--list] [--threads N]
//! ```
//! `--small` is for the executor, which is slow.
//!
//! Each part writes its results as JSON lines to the file named by `RESULTS`, or to standard output:
//! - `smoke`: one op, where the kernels come from, and what each needs;
//! - `bits`: every op, type and form against the CPU, in the shapes of two models; fails unless every kernel has run;
//! - `model`: a whole model with random weights, prefill and decode, logits and states, against the CPU;
//! - `times`: the time of each kernel; `speed`: tokens per second of whole models;
//! - `sanitize`: a few dozen small cases, for compute-sanitizer;
//! - `profile`: each kernel once, for a profiler.
//!
//! The exit status is 1 if a check has failed.
#![cfg(feature = "cuda")]

#[allow(dead_code, unused_imports, reason = "shared with the suite of all backends")]
#[macro_use]
#[path = "../backends/ops/mod.rs"]
mod ops;

mod bits;
#[path = "../shared/float_mode.rs"]
mod float_mode;
#[allow(dead_code, unused_imports, reason = "shared with the suite of all backends")]
#[path = "../backends/harness/mod.rs"]
mod harness;
mod model;
#[allow(dead_code, unused_imports, reason = "shared with the suite of all backends")]
#[path = "../backends/properties/mod.rs"]
mod properties;
mod random_model;
mod record;
mod sanitize;
#[path = "../shared/skip.rs"]
mod skip;
mod target;
mod times;

use bits::NamedCheck;
use record::Records;
use serde_json::json;
use std::process::ExitCode;
use std::sync::Mutex;
use target::Target;

const PARTS: [&str; 7] = ["smoke", "bits", "model", "times", "speed", "sanitize", "profile"];

fn main() -> ExitCode {
    let mut parts = Vec::new();
    let (mut small, mut list, mut threads) = (false, false, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--small" => small = true,
            "--list" => list = true,
            "--threads" => match arguments.next().and_then(|number| number.parse().ok()) {
                Some(number) => threads = number,
                None => return usage("--threads needs a number"),
            },
            part if PARTS.contains(&part) => parts.push(part.to_string()),
            other => return usage(&format!("`{other}` is no part and no option")),
        }
    }
    if parts.is_empty() {
        return usage("no part is named");
    }
    let (target, records) = (Target::new(small), Records::new());
    if list {
        for (name, _) in bits::checks(&target) {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    // a context lives as long as the process, not from one check to the next
    let mut first = None;
    let opened = records.check("open", || first = Some(target.cuda(|builder| builder)));
    for part in parts.iter().filter(|_| opened) {
        run(part, &target, &records, threads);
    }
    drop(first);
    ExitCode::from(u8::from(records.failed() > 0))
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("gpu_check: {problem}\nusage: gpu_check PART... [--small] [--list] [--threads N]");
    eprintln!("parts: {}", PARTS.join(", "));
    ExitCode::from(2)
}

fn run(part: &str, target: &Target, records: &Records, threads: usize) {
    match part {
        "smoke" => smoke(target, records),
        "bits" => {
            all(records, bits::checks(target), threads);
            records.check("coverage", || {
                let missing = target.never_launched();
                assert!(missing.is_empty(), "no check has launched {}", missing.join(", "));
            });
        }
        "model" => {
            let [first, rest @ ..] = target.models() else { return };
            records.check(&format!("model/{}", first.name), || model::bits(target, first, first.layers));
            for shape in rest {
                records.check(&format!("model/{}, 2 layers", shape.name), || model::bits(target, shape, 2));
            }
        }
        "times" => {
            for fast in [false, true] {
                let name = if fast { "times/fast" } else { "times/exact" };
                records.check(name, || times::run(target, records, fast, false));
            }
        }
        "speed" => {
            for shape in target.models() {
                for fast in [false, true] {
                    let name = format!("speed/{}/{}", shape.name, if fast { "fast" } else { "exact" });
                    records.check(&name, || model::speed(target, records, shape, fast));
                }
            }
        }
        "sanitize" => all(records, sanitize::checks(target), 1),
        _ => {
            for fast in [false, true] {
                records.check("profile", || times::run(target, records, fast, true));
            }
        }
    }
}

/// One small op, and the kernels that the backend has.
fn smoke(target: &Target, records: &Records) {
    use crate::harness::{arrays::Device, case::Case, random::Flavour};
    records.check("smoke", || {
        let device = Device::new(target.cuda(|builder| builder));
        let origin = device.backend.description();
        records.write(&json!({"part": "facts", "name": "device", "value": origin}));
        let case = ops::RmsNorm::of(&ops::RmsNorm::complete(), Flavour::Plain);
        let expected = case.run(&Device::new(mamba_kernels::Cpu::new()));
        case.run(&device).same_bits(&expected, "against the CPU").unwrap_or_else(|error| panic!("{error}"));
        for kernel in device.backend.kernels() {
            let Some(resources) = kernel.resources else { continue };
            let [registers, local, shared] =
                [resources.registers, resources.local_bytes, resources.shared_bytes];
            records.write(&json!({
                "part": "resources", "origin": origin, "kernel": kernel.name, "registers": registers,
                "local_bytes": local, "shared_bytes": shared,
            }));
            assert_eq!(local, 0, "{} spills registers, {origin}", kernel.name);
        }
    });
}

/// Runs checks on several threads, each as soon as a thread is free.
fn all(records: &Records, checks: Vec<NamedCheck<'_>>, threads: usize) {
    let left = Mutex::new(checks.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    // a check runs outside of the lock, so its panic leaves the list as it is
                    let next = left.lock().unwrap_or_else(|error| error.into_inner()).next();
                    let Some((name, check)) = next else { return };
                    records.check(&name, check);
                }
            });
        }
    });
}
