//! A peer as a process: see `worker.py`, whose protocol this is.

use serde_json::json;
use std::io::BufRead;
use std::time::Instant;

/// Tokens whose last logits the peers compare.
pub fn check_tokens() -> Vec<u32> {
    (0..8).map(|i| (i * 11 + 3) % 50280).collect()
}

pub fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|i| (i * 97 + 7) % 50280).collect()
}

/// Pseudo-random values in [-0.5, 0.5).
pub fn values(len: usize) -> Vec<f32> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// The products: name, tokens, input features, output features.
pub const PRODUCTS: [(&str, usize, usize, usize); 8] = [
    ("in_proj_m1", 1, 768, 3072),
    ("in_proj_m8", 8, 768, 3072),
    ("in_proj_m512", 512, 768, 3072),
    ("in_proj_m2048", 2048, 768, 3072),
    ("out_proj_m512", 512, 1536, 768),
    ("x_proj_m512", 512, 1536, 80),
    ("dt_proj_m512", 512, 48, 1536),
    ("lm_head_m1", 1, 768, 50280),
];

/// A crate's name with the version that it was built from.
pub fn version_of(name: &str) -> String {
    let (_, after) =
        include_str!("../Cargo.lock").split_once(&format!("name = \"{name}\"\n")).expect("it is a peer");
    let version =
        after.lines().next().and_then(|line| line.strip_prefix("version = ")).expect("every crate has one");
    format!("{name} {}", version.trim_matches('"'))
}

/// A named piece of work, and the units that one call does.
pub type Work = (String, Box<dyn FnMut()>, f64);

pub fn serve(version: &str, mut work: Vec<Work>, mut logits: impl FnMut() -> Option<Vec<f32>>) {
    let names: Vec<&String> = work.iter().map(|work| &work.0).collect();
    println!("{}", json!({"version": version, "work": names}));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the driver writes text");
        if line.trim() == "logits" {
            println!("{}", json!({"logits": logits()}));
            continue;
        }
        let name = line.trim().strip_prefix("time ").expect("a command").to_string();
        let (_, run, units) = work.iter_mut().find(|work| work.0 == name).expect("a name that was offered");
        let start = Instant::now();
        run();
        let mut once = start.elapsed().as_secs_f64();
        let repeats = (0.05 / once).clamp(1.0, 10_000.0) as usize;
        if repeats > 1 {
            let start = Instant::now();
            (0..repeats).for_each(|_| run());
            once = start.elapsed().as_secs_f64() / repeats as f64;
        }
        println!("{}", json!({"seconds": once / *units}));
    }
}

/// `PROGRAM THREADS [MODEL]`
pub fn arguments() -> (usize, String) {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|text| text.parse().ok()).expect("the number of threads");
    (threads, arguments.next().unwrap_or_default())
}
