//! `cargo bench --bench pathologies [-- FILTER] [--quick]`: inputs that could be slow, each beside its ordinary twin.
//!
//! A ratio is the time of the case over that of its twin, which does the same work on ordinary values, in ordinary shapes,
//! or with as many threads as there are CPUs; if the work differs, per unit of work. Case and twin run in turns; the
//! ratio is the median over rounds. FILTER is a part of a name; `--quick` takes fewer rounds; `MAMBA_KERNELS_ISA` forces
//! an instruction set. Writes `target/pathologies.json`: `{case, isa, threads, ratio, lowest, highest}`.

mod calls;
#[path = "../harness/files.rs"]
mod files;
mod shapes;
mod threads;
mod values;

use calls::Run;
use mamba_kernels::Cpu;
use serde_json::{Value, json};
use std::time::Instant;

/// Passes on the pairs of a group whose names are wanted.
type Group = fn(&dyn Fn(&str) -> bool, &mut dyn FnMut(Pair));

/// A case and its twin.
struct Pair {
    name: String,
    cpu: Cpu,
    case: Run,
    twin: Run,
    /// The work of the case over that of the twin.
    work: f64,
}

/// A turn of a run repeats it for so long.
const TURN_SECONDS: f64 = 0.004;

/// How often a run is repeated in a turn, and the time of one repetition.
fn turn(run: &mut Run, times: usize) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| run());
    start.elapsed().as_secs_f64() / times as f64
}

/// The median, the least and the largest ratio over rounds.
fn measure(pair: &mut Pair, rounds: usize) -> [f64; 3] {
    let times = [&mut pair.case, &mut pair.twin].map(|run| {
        run(); // memory and caches
        let once = turn(run, 1);
        ((TURN_SECONDS / once.max(1e-9)) as usize).clamp(1, 10_000)
    });
    let mut ratios: Vec<f64> = (0..rounds)
        .map(|_| turn(&mut pair.case, times[0]) / turn(&mut pair.twin, times[1]) / pair.work)
        .collect();
    ratios.sort_by(f64::total_cmp);
    [ratios[rounds / 2], ratios[0], ratios[rounds - 1]]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let rounds = if quick { 3 } else { 15 };
    let mut results: Vec<Value> = Vec::new();
    let groups: [Group; 3] = [values::pairs, shapes::pairs, threads::pairs];
    for group in groups {
        group(&wanted, &mut |mut pair: Pair| {
            let [ratio, lowest, highest] =
                measure(&mut pair, rounds).map(|ratio| (ratio * 100.0).round() / 100.0);
            let (isa, threads) = (pair.cpu.isa().name(), pair.cpu.threads());
            println!(
                "{:58} {isa:8} {threads:3} threads {ratio:8.2}  ({lowest:.2} to {highest:.2})",
                pair.name
            );
            results.push(json!({
                "case": pair.name, "isa": isa, "threads": threads, "ratio": ratio, "lowest": lowest, "highest": highest,
            }));
        });
    }
    files::write_list(&files::target_directory().join("pathologies.json"), &results);
}
