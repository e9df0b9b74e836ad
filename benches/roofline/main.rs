//! `cargo bench --bench roofline [-- FILTER] [--quick]`: every kernel at the 130m shape as a fraction of what this
//! machine can do. `MAMBA_KERNELS_ISA` forces an instruction set; `--quick` takes few rounds with all threads.
//!
//! First the ceilings: multiply-adds and exponentials per second, and the bandwidth of each level of memory. A kernel
//! takes at least as long as each resource needs for its share of the work; the resource that needs longest is its
//! limit. Then, for each kernel, windows of its ceiling and of itself in turns: a row has the medians of both and of
//! their ratios, with the 10th and the 90th percentile. Writes `target/roofline.json`, `target/ceilings.json`,
//! `target/works.json`, and with Python `target/roofline.svg`.

#[path = "../harness/files.rs"]
mod files;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../machine/mod.rs"]
mod machine;
mod resources;

use harness::model::{Forward, SHAPE_130M, Weights};
use harness::{Conv, Norm, Product, Scan, Workload, checked};
use machine::{Level, Memory, Plan, Spread, Traffic, Turns, bf16_dots, elementary, turns};
use mamba_kernels::Cpu;
use mamba_kernels::DType::{BF16, F16, F32};
use mamba_kernels::cpu::{Elementary, Isa};
use resources::{Ceilings, Resource};
use serde_json::{Map, Value, json};

/// Four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().expect("a number")
}

/// The median under a name, and the ends of the spread under the name with `_spread`.
fn put(object: &mut Map<String, Value>, name: &str, spread: Spread, scale: f64) {
    let [low, median, high] = [spread.low, spread.median, spread.high].map(|value| rounded(value * scale));
    object.insert(name.into(), median.into());
    object.insert(format!("{name}_spread"), json!([low, high]));
}

/// One line of the table.
struct Row<'a> {
    case: &'a dyn Workload,
    isa: Isa,
    threads: usize,
    limit: Resource,
    turns: Turns,
}

impl Row<'_> {
    fn json(&self) -> Value {
        let mut object = key(self.case);
        for (name, value) in [
            ("isa", json!(self.isa.name())),
            ("threads", json!(self.threads)),
            ("limit", json!(self.limit.name())),
            ("unit", json!(self.limit.unit())),
            ("rounds", json!(self.turns.rounds)),
        ] {
            object.insert(name.into(), value);
        }
        put(&mut object, "achieved", self.turns.kernel, 1e-9);
        put(&mut object, "ceiling", self.turns.ceiling, 1e-9);
        put(&mut object, "fraction", self.turns.share, 1.0);
        object.into()
    }

    fn print(&self) {
        let Turns { kernel, ceiling, share, .. } = &self.turns;
        println!(
            "{:58} {:9.2} of {:9.2} {:8} {:5.1} %  ({:5.1} to {:5.1})  {}",
            format!("{}/cpu-{}/t{}", self.case.id(), self.isa, self.threads),
            kernel.median / 1e9,
            ceiling.median / 1e9,
            self.limit.unit(),
            100.0 * share.median,
            100.0 * share.low,
            100.0 * share.high,
            self.limit.name(),
        );
    }
}

/// What a row is of.
fn key(case: &dyn Workload) -> Map<String, Value> {
    let key = json!({
        "kernel": case.op(), "shape": case.shape(), "dtype": case.dtype().to_string(), "mode": case.mode(),
    });
    key.as_object().expect("it is one").clone()
}

/// What a run of a case costs, on any machine.
fn work(case: &dyn Workload) -> Value {
    let (mut object, work) = (key(case), case.work());
    for (name, amount) in [
        ("flops", work.flops),
        ("bf16_flops", work.bf16_flops),
        ("exps", work.exps),
        ("read", work.read),
        ("written", work.written),
    ] {
        object.insert(name.into(), amount.into());
    }
    object.into()
}

struct Bench {
    filter: String,
    plan: Plan,
    memory: Memory,
    /// The recorded ceilings.
    measured: Vec<Value>,
}

impl Bench {
    /// Measures a ceiling, prints and records it, and gives its median.
    fn ceiling(&mut self, resource: Resource, isa: Isa, threads: usize) -> Option<f64> {
        let window = self.plan.window;
        let mut run = resource.ceiling(&mut self.memory, isa, threads)?;
        let spread = Spread::of((0..self.plan.rounds[0]).map(|_| run.window(window)).collect());
        drop(run);
        let vectors = if let Resource::Bandwidth(..) = resource { Memory::isa() } else { isa };
        self.record(&resource.name(), vectors, threads, spread, resource.unit());
        Some(spread.median)
    }

    fn record(&mut self, name: &str, isa: Isa, threads: usize, spread: Spread, unit: &str) {
        println!(
            "{:58} {:9.2} {unit} ({:.2} to {:.2})",
            format!("ceiling/{name}/{isa}/t{threads}"),
            spread.median / 1e9,
            spread.low / 1e9,
            spread.high / 1e9
        );
        let ceiling = json!({"ceiling": name, "isa": isa.name(), "threads": threads, "unit": unit});
        let mut object = ceiling.as_object().expect("it is one").clone();
        put(&mut object, "rate", spread, 1e-9);
        self.measured.push(object.into());
    }

    /// All ceilings of a number of threads, for each instruction set.
    fn ceilings(&mut self, isas: &[Isa], threads: usize) -> Vec<Ceilings> {
        let mut bandwidths = Vec::new();
        for level in Level::ALL {
            for traffic in Traffic::ALL {
                let resource = Resource::Bandwidth(traffic, level);
                bandwidths.extend(self.ceiling(resource, isas[0], threads).map(|rate| (resource, rate)));
            }
        }
        let mut all = Vec::new();
        for &isa in isas {
            let mut rates = bandwidths.clone();
            for resource in [Resource::Fma, Resource::Bf16Dot, Resource::Exp] {
                rates.extend(self.ceiling(resource, isa, threads).map(|rate| (resource, rate)));
            }
            let mut exp2 = elementary(isa, Elementary::Exp2, threads);
            let windows = (0..self.plan.rounds[0]).map(|_| exp2.window(self.plan.window)).collect();
            self.record("exp2", isa, threads, Spread::of(windows), Resource::Exp.unit());
            all.push(Ceilings { isa, threads, rates });
        }
        all
    }

    /// Checks the case, then measures it and its ceiling in turns; nothing if it is not wanted.
    fn row<'a>(&mut self, case: &'a dyn Workload, cpu: &Cpu, ceilings: &Ceilings) -> Option<Row<'a>> {
        let (isa, threads) = (cpu.isa(), cpu.threads());
        if !format!("{}/cpu-{isa}/t{threads}", case.id()).contains(&self.filter) {
            return None;
        }
        let mut placed = checked(case, cpu);
        let work = case.work();
        let limit = ceilings.limit(&work, self.memory.level(work.resident, threads));
        let mut ceiling = limit.ceiling(&mut self.memory, isa, threads).expect("it was measured before");
        let turns = turns(&mut ceiling, &mut || placed.run(), limit.amount(&work), self.plan);
        let row = Row { case, isa, threads, limit, turns };
        row.print();
        Some(row)
    }
}

/// The kernels at the 130m shape, of prefill and of decode, and other shapes that show something more. The
/// number is how many of the instruction sets run the case, the fastest first.
fn cases() -> Vec<(Box<dyn Workload>, usize)> {
    let mut cases: Vec<(Box<dyn Workload>, usize)> = Vec::new();
    for (role, sizes, dtype, sets) in [
        ("in_proj", [2048, 768, 3072], F32, 2),
        ("in_proj", [512, 768, 3072], F32, 2),
        ("in_proj", [512, 768, 3072], BF16, 1),
        ("in_proj", [64, 768, 3072], F32, 2),
        ("in_proj", [8, 768, 3072], F32, 2),
        ("in_proj", [1, 768, 3072], F32, 1),
        ("x_proj", [512, 1536, 80], F32, 2),
        ("x_proj", [1, 1536, 80], F32, 1),
        ("dt_proj", [512, 48, 1536], F32, 2),
        ("dt_proj", [1, 48, 1536], F32, 1),
        ("out_proj", [512, 1536, 768], F32, 2),
        ("out_proj", [1, 1536, 768], F32, 1),
        ("lm_head", [512, 768, 50280], F32, 1),
        ("lm_head", [1, 768, 50280], F32, 2),
        ("lm_head", [1, 768, 50280], BF16, 1),
        ("lm_head", [1, 768, 50280], F16, 1),
        ("in_proj", [1, 2560, 10240], F32, 1),
        ("in_proj", [1, 2560, 10240], BF16, 1),
        ("in_proj", [1, 2560, 10240], F16, 1),
    ] {
        let product = Product::new(role, sizes, dtype);
        // a decode step finds no weight in a cache
        let step = sizes[0] == 1 && sizes[1] * sizes[2] > 20 << 20;
        cases.push((Box::new(if step { product.in_memory() } else { product }), sets));
    }
    if harness::cpus().iter().any(|cpu| bf16_dots(cpu.isa(), 1).is_some()) {
        for m in [512, 64, 8] {
            cases.push((Box::new(Product::new("in_proj", [m, 768, 3072], F32).bf16_dot()), 1));
        }
    }
    for (sizes, dtype, sets) in [
        ([1, 2048, 1536, 16], F32, 2),
        ([1, 2048, 1536, 16], BF16, 1),
        ([1, 64, 256, 16], F32, 1),
        ([1, 64, 256, 64], F32, 1),
        ([1, 1, 1536, 16], F32, 1),
    ] {
        cases.push((Box::new(Scan::new(sizes, dtype)), sets));
    }
    for (sizes, dtype, turns, sets) in [
        ([1, 2048, 1536, 4], F32, 8, 2),
        ([1, 2048, 1536, 4], BF16, 16, 1),
        ([1, 64, 256, 4], F32, 1, 1),
        ([1, 1, 1536, 4], F32, 1, 1),
    ] {
        cases.push((Box::new(Conv::new(sizes, dtype, turns)), sets));
    }
    for m in [512, 1] {
        cases.push((Box::new(Norm { m, d: 768 }), 1));
    }
    for dtype in [F32, BF16] {
        let weights = Weights::new(SHAPE_130M, dtype);
        for sizes in [[1, 512], [1, 1]] {
            cases.push((Box::new(Forward::new(&weights, sizes)), 1));
        }
    }
    cases
}

/// Draws the picture of what was written, if there is Python.
fn draw(target: &std::path::Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/comparisons/report.py");
    let command = ["python3", script, "--draw"];
    let drawn = std::process::Command::new(command[0]).args(&command[1..]).arg(target).status();
    if !drawn.is_ok_and(|status| status.success()) {
        println!("not drawn: {} {}", command.join(" "), target.display());
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let quick = harness::quick();
    let filter = arguments.find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let plan = match quick {
        true => Plan { window: 0.01, total: 0.06, rounds: [3, 3] },
        false => Plan { window: 0.015, total: 0.6, rounds: [7, 20] },
    };
    let mut bench = Bench { filter, plan, memory: Memory::new(), measured: Vec::new() };
    let mut threads = vec![1, harness::cpus()[0].threads()];
    threads.dedup();
    if quick {
        threads.drain(..threads.len() - 1);
    }
    let isas: Vec<Isa> = harness::cpus().iter().map(Cpu::isa).collect();
    let ceilings: Vec<Ceilings> =
        threads.iter().flat_map(|&threads| bench.ceilings(&isas, threads)).collect();
    let cases = cases();
    let (mut rows, mut works) = (Vec::new(), Vec::new());
    for (case, sets) in &cases {
        works.push(work(&**case));
        for &threads in &threads {
            // the portable path has no vector instructions to count on
            for &isa in isas
                .iter()
                .take(if quick { 1 } else { *sets })
                .filter(|&&isa| isas.len() == 1 || isa != Isa::Portable)
            {
                let cpu = Cpu::builder().isa(isa).threads(threads).build().expect("this CPU has it");
                let known = ceilings.iter().find(|known| known.isa == isa && known.threads == threads);
                rows.extend(bench.row(&**case, &cpu, known.expect("each pair is measured")));
            }
        }
    }
    let target = files::target_directory();
    files::write_list(&target.join("ceilings.json"), &bench.measured);
    files::write_list(&target.join("roofline.json"), &rows.iter().map(Row::json).collect::<Vec<_>>());
    files::write_list(&target.join("works.json"), &works);
    draw(&target);
}
