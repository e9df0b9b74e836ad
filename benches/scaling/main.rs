//! `cargo bench --bench scaling [-- FILTER] [--quick]`: how the time and the memory of a model's calls grow with the
//! length of a prompt, the sequences of a batch, the threads and the width.
//!
//! FILTER is a part of `scaling/length`, `scaling/batch`, `scaling/threads` or `scaling/width`; `--quick` takes smaller
//! ends and one round; `MAMBA_KERNELS_ISA` forces an instruction set. Memory is the most that was allocated at a time
//! during a call with a new state and a new scratch, beyond the weights and the prompt. A line is fitted to the
//! logarithms: its slope is the exponent. Writes `target/scaling.json` and `target/scaling.svg`.

#[path = "../harness/files.rs"]
mod files;
#[path = "../harness/mod.rs"]
mod harness;
mod plot;

use harness::model::{Forward, Sizes, Weights};
use harness::{checked, cpus};
use mamba_kernels::model::{Logits, Mamba, Scratch, State};
use mamba_kernels::{Batch, Cpu, DType};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Small enough that 131072 tokens take seconds. Its vocabulary leaves little to the head.
const SIZES: Sizes = Sizes { d_model: 256, layers: 4, vocab: 1024 };

/// A round repeats the calls of a size for so long.
const RUN_SECONDS: f64 = 0.05;

const ROUNDS: usize = 5;

/// What a call took at one size.
struct Point {
    size: usize,
    /// Of the rounds: median, least and most.
    seconds: [f64; 3],
    bytes: usize,
}

struct Sweep {
    name: &'static str,
    /// What grows.
    variable: &'static str,
    /// The work, without what grows.
    work: String,
    /// The least size that the lines are fitted to.
    from: usize,
    points: Vec<Point>,
}

impl Sweep {
    /// The slope of a line through the logarithms by least squares, and its value at the size 1.
    fn fit(&self, value: impl Fn(&Point) -> f64) -> (f64, f64) {
        let points = self.points.iter().filter(|point| point.size >= self.from);
        let logs: Vec<(f64, f64)> =
            points.map(|point| ((point.size as f64).ln(), value(point).ln())).collect();
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
        let (x, y) = (mean(&|log| log.0), mean(&|log| log.1));
        let slope = mean(&|log| (log.0 - x) * (log.1 - y)) / mean(&|log| (log.0 - x).powi(2));
        (slope, (y - slope * x).exp())
    }

    fn json(&self, cpu: &Cpu) -> Value {
        let points = self.points.iter().map(|point| {
            let [median, lowest, highest] = point.seconds.map(rounded);
            json!({"size": point.size, "median": median, "lowest": lowest, "highest": highest, "bytes": point.bytes})
        });
        json!({
            "sweep": self.name, "variable": self.variable, "work": self.work,
            "version": format!("mamba-kernels {}, {}", env!("CARGO_PKG_VERSION"), cpu.description()),
            "command": format!("cargo bench --bench scaling -- {}", self.name), "fitted_from": self.from,
            "time_exponent": rounded(self.fit(|point| point.seconds[0]).0),
            "memory_exponent": rounded(self.fit(|point| point.bytes as f64).0),
            "points": points.collect::<Vec<_>>(),
        })
    }
}

/// Four significant digits, with no signed zero, and an exponent of rounding noise as 0.
fn rounded(value: f64) -> f64 {
    let value: f64 = format!("{value:.3e}").parse().expect("a number");
    if value.abs() < 1e-9 { 0.0 } else { value }
}

struct Bench {
    quick: bool,
    filter: String,
    cpu: Cpu,
    done: Vec<Sweep>,
}

/// A size that is ready to be timed.
struct Running {
    size: usize,
    bytes: usize,
    model: Rc<Mamba<Cpu>>,
    prompt: Vec<u32>,
    batch: Batch,
    state: State<Cpu>,
    scratch: Scratch<Cpu>,
    /// Seconds per call of each round.
    rounds: Vec<f64>,
}

impl Running {
    /// A first call of `sequences` of `tokens` each, which takes the memory.
    fn new(model: &Rc<Mamba<Cpu>>, size: usize, [sequences, tokens]: [usize; 2]) -> Self {
        let prompt = (0..sequences * tokens).map(|i| ((i * 97 + 7) % SIZES.vocab) as u32).collect();
        let batch = Batch::from_lengths(&vec![tokens; sequences]).unwrap();
        let (model, rounds) = (model.clone(), Vec::with_capacity(ROUNDS));
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let (state, scratch) = (model.new_state(sequences).unwrap(), Scratch::default());
        let mut running = Self { size, bytes: 0, model, prompt, batch, state, scratch, rounds };
        running.call();
        running.bytes = MEMORY.peak_usage() - before;
        running
    }

    fn call(&mut self) {
        let Self { model, prompt, batch, state, scratch, .. } = self;
        let logits = model.forward(prompt, batch, state, Logits::Last, scratch).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()), "the logits are finite");
    }

    /// Calls until a run is long enough, seconds per call.
    fn round(&mut self) {
        let (start, mut calls) = (Instant::now(), 0);
        while calls == 0 || start.elapsed().as_secs_f64() < RUN_SECONDS {
            self.call();
            calls += 1;
        }
        self.rounds.push(start.elapsed().as_secs_f64() / f64::from(calls));
    }

    fn point(mut self) -> Point {
        self.rounds.sort_by(f64::total_cmp);
        let count = self.rounds.len();
        let seconds = [count / 2, 0, count - 1].map(|i| self.rounds[i]);
        Point { size: self.size, seconds, bytes: self.bytes }
    }
}

impl Bench {
    /// Runs a sweep that is wanted: `case` gives the width, the threads, and the sequences and their tokens of a size.
    /// Each round times every size, so that a machine that is slow for a while is slow for all of them.
    fn sweep(
        &mut self,
        mut sweep: Sweep,
        sizes: &[usize],
        case: impl Fn(usize) -> (usize, usize, [usize; 2]),
    ) {
        if !format!("scaling/{}", sweep.name).contains(&self.filter) {
            return;
        }
        let mut loaded: Option<(usize, usize, Rc<Mamba<Cpu>>)> = None;
        let mut running: Vec<Running> = Vec::new();
        for &size in sizes {
            let (d_model, threads, lengths) = case(size);
            if loaded.as_ref().is_none_or(|model| (model.0, model.1) != (d_model, threads)) {
                let cpu = Cpu::builder().isa(self.cpu.isa()).threads(threads).build().unwrap();
                let weights = Weights::new(Sizes { d_model, ..SIZES }, DType::F32);
                checked(&Forward::new(&weights, [1, 8]), &cpu);
                loaded = Some((d_model, threads, Rc::new(weights.load(cpu))));
            }
            let (_, _, model) = loaded.as_ref().expect("it was just loaded");
            running.push(Running::new(model, size, lengths));
        }
        for _ in 0..if self.quick { 1 } else { ROUNDS } {
            running.iter_mut().for_each(Running::round);
        }
        sweep.points = running.into_iter().map(Running::point).collect();
        for point in &sweep.points {
            let (milliseconds, megabytes) = (1e3 * point.seconds[0], point.bytes as f64 / 1e6);
            let what = format!("scaling/{}/{} {}", sweep.name, point.size, sweep.variable);
            println!("{what:40} {milliseconds:10.3} ms {megabytes:10.3} MB");
        }
        let (time, memory) = (sweep.fit(|point| point.seconds[0]).0, sweep.fit(|point| point.bytes as f64).0);
        println!("scaling/{}: time grows with the power {time:.2}, memory {memory:.2}", sweep.name);
        self.done.push(sweep);
    }
}

/// Powers of two from `first` to `last`.
fn powers(first: usize, last: usize) -> Vec<usize> {
    (0..).map(|i| first << i).take_while(|&size| size <= last).collect()
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let quick = harness::quick();
    let cpu = cpus().swap_remove(0);
    let all = cpu.threads();
    let mut bench = Bench { quick, filter, cpu, done: Vec::new() };
    let shape = format!("d_model {}, {} layers, f32", SIZES.d_model, SIZES.layers);
    let chunk = Scratch::<Cpu>::default().segment_tokens();
    let sweep = |name, variable, work, from| Sweep { name, variable, work, from, points: Vec::new() };

    let work = format!("prefill of one sequence in chunks of {chunk} tokens, {shape}, {all} threads");
    bench.sweep(
        sweep("length", "tokens", work, chunk),
        &powers(128, if quick { 4096 } else { 131_072 }),
        |size| (SIZES.d_model, all, [1, size]),
    );
    let work = format!("decode of one token of each sequence, {shape}, {all} threads");
    bench.sweep(sweep("batch", "sequences", work, 8), &powers(1, if quick { 32 } else { 256 }), |size| {
        (SIZES.d_model, all, [size, 1])
    });
    let mut threads = powers(1, all);
    if threads.last() != Some(&all) {
        threads.push(all);
    }
    let work = format!("prefill of 2048 tokens, {shape}");
    bench.sweep(sweep("threads", "threads", work, 1), &threads, |size| (SIZES.d_model, size, [1, 2048]));
    let work = format!("prefill of 512 tokens, {} layers, f32, {all} threads", SIZES.layers);
    bench.sweep(sweep("width", "d_model", work, 64), &powers(64, if quick { 256 } else { 1024 }), |size| {
        (size, all, [1, 512])
    });

    if bench.done.is_empty() {
        return;
    }
    let found: Vec<Value> = bench.done.iter().map(|sweep| sweep.json(&bench.cpu)).collect();
    let path = files::target_directory().join("scaling.json");
    files::write_list(&path, &found);
    let path = path.with_extension("svg");
    plot::draw(&path, &bench.done).unwrap_or_else(|error| panic!("cannot draw: {error}"));
    println!("wrote {}", path.display());
}
