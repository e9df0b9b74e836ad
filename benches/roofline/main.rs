//! `cargo bench --bench roofline [-- FILTER] [--quick]`: every kernel at the 130m shape as a fraction of what this
//! machine can do. `MAMBA_KERNELS_ISA` forces an instruction set; `--quick` takes one round with all threads.
//!
//! First the ceilings: multiply-adds and exponentials per second, and the bandwidth of each level of memory. A kernel
//! takes at least as long as each resource needs for its share of the work; the resource that needs longest is its
//! limit, and is measured again right before and after each round. Writes `target/roofline.json`,
//! `target/ceilings.json` and `target/roofline.svg`.

#[path = "../harness/files.rs"]
mod files;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../machine/mod.rs"]
mod machine;
mod plot;

use harness::model::{Forward, SHAPE_130M, Weights};
use harness::{Conv, Norm, Product, Scan, Work, Workload, checked};
use machine::{Level, Memory, Traffic, bf16_dot_peak, elementary_rate, fma_peak};
use mamba_kernels::Cpu;
use mamba_kernels::DType::{BF16, F16, F32};
use mamba_kernels::cpu::{Elementary, Isa};
use serde_json::{Value, json};
use std::time::Instant;

/// What may bound a kernel.
#[derive(Clone, Copy, PartialEq)]
enum Resource {
    /// Multiply-adds.
    Fma,
    /// bf16 dot products.
    Bf16Dot,
    /// `Elementary::Exp`, the crate's own: there is no instruction for it.
    Exp,
    Bandwidth(Traffic, Level),
}

impl Resource {
    fn name(self) -> String {
        match self {
            Resource::Fma => "multiply-adds".into(),
            Resource::Bf16Dot => "bf16 dot products".into(),
            Resource::Exp => "exponentials".into(),
            Resource::Bandwidth(traffic, level) => format!("{} {}", level.name(), traffic.name()),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Resource::Fma | Resource::Bf16Dot => "GFLOP/s",
            Resource::Exp => "Gexp/s",
            Resource::Bandwidth(..) => "GB/s",
        }
    }

    /// What a run takes of the resource.
    fn amount(self, work: &Work) -> f64 {
        match self {
            Resource::Fma => work.flops,
            Resource::Bf16Dot => work.bf16_flops,
            Resource::Exp => work.exps,
            Resource::Bandwidth(Traffic::Read, _) => work.read,
            Resource::Bandwidth(Traffic::Write, _) => work.written,
            Resource::Bandwidth(Traffic::Copy, _) => work.read + work.written,
        }
    }
}

/// One line of the table.
struct Row {
    case: String,
    kernel: String,
    shape: String,
    dtype: String,
    mode: &'static str,
    isa: Isa,
    threads: usize,
    work: Work,
    limit: Resource,
    /// Units per second, of the round with the median fraction.
    achieved: f64,
    ceiling: f64,
    seconds: f64,
    /// Of the other rounds.
    lowest: f64,
    highest: f64,
}

impl Row {
    fn fraction(&self) -> f64 {
        self.achieved / self.ceiling
    }

    fn json(&self) -> Value {
        json!({
            "kernel": self.kernel, "shape": self.shape, "dtype": self.dtype, "mode": self.mode,
            "isa": self.isa.name(), "threads": self.threads,
            "achieved": rounded(self.achieved / 1e9), "ceiling": rounded(self.ceiling / 1e9),
            "unit": self.limit.unit(), "limit": self.limit.name(), "fraction": rounded(self.fraction()),
        })
    }

    fn print(&self) {
        println!(
            "{:58} {:9.2} of {:9.2} {:8} {:5.1} %  ({:5.1} to {:5.1})  {}",
            format!("{}/cpu-{}/t{}", self.case, self.isa, self.threads),
            self.achieved / 1e9,
            self.ceiling / 1e9,
            self.limit.unit(),
            100.0 * self.fraction(),
            100.0 * self.lowest,
            100.0 * self.highest,
            self.limit.name(),
        );
    }
}

/// Four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().expect("a number")
}

/// The ceilings of one instruction set and thread count.
struct Ceilings {
    isa: Isa,
    threads: usize,
    fma: f64,
    bf16_dot: f64,
    exp: f64,
    exp2: f64,
    /// Of each traffic, from each level.
    bandwidth: Vec<(Traffic, Level, f64)>,
}

impl Ceilings {
    fn measure(isa: Isa, threads: usize, bandwidth: &[(Traffic, Level, f64)]) -> Self {
        Self {
            isa,
            threads,
            fma: fma_peak(isa, threads),
            bf16_dot: bf16_dot_peak(isa, threads),
            exp: elementary_rate(isa, Elementary::Exp, threads),
            exp2: elementary_rate(isa, Elementary::Exp2, threads),
            bandwidth: bandwidth.to_vec(),
        }
    }

    fn of(&self, resource: Resource) -> f64 {
        match resource {
            Resource::Fma => self.fma,
            Resource::Bf16Dot => self.bf16_dot,
            Resource::Exp => self.exp,
            Resource::Bandwidth(traffic, level) => {
                let found = self.bandwidth.iter().find(|row| (row.0, row.1) == (traffic, level));
                found.expect("every pair is measured").2
            }
        }
    }

    /// The resource that needs the longest for this work.
    fn limit(&self, work: &Work, level: Level) -> Resource {
        // a kernel that writes little is held against reading alone
        let traffic = match work.written / work.read.max(1.0) {
            share if share < 0.25 => Traffic::Read,
            share if share > 4.0 => Traffic::Write,
            _ => Traffic::Copy,
        };
        let resources =
            [Resource::Fma, Resource::Bf16Dot, Resource::Exp, Resource::Bandwidth(traffic, level)];
        let seconds = |resource: Resource| match resource.amount(work) {
            0.0 => 0.0,
            amount => amount / self.of(resource),
        };
        resources.into_iter().max_by(|&a, &b| seconds(a).total_cmp(&seconds(b))).expect("three of them")
    }

    fn arithmetic(&self) -> Vec<Value> {
        let rates = [
            ("multiply-adds", self.fma, "GFLOP/s"),
            ("bf16 dot products", self.bf16_dot, "GFLOP/s"),
            ("exp", self.exp, "Gexp/s"),
            ("exp2", self.exp2, "Gexp/s"),
        ];
        let there = rates.into_iter().filter(|(_, rate, _)| *rate > 0.0);
        there.map(|(name, rate, unit)| ceiling(name, self.isa.name(), self.threads, rate, unit)).collect()
    }
}

/// Prints a ceiling and gives its object.
fn ceiling(name: &str, isa: &str, threads: usize, rate: f64, unit: &str) -> Value {
    println!("{:58} {:9.2} {unit}", format!("ceiling/{name}/{isa}/t{threads}"), rate / 1e9);
    json!({"ceiling": name, "isa": isa, "threads": threads, "rate": rounded(rate / 1e9), "unit": unit})
}

struct Bench {
    filter: String,
    rounds: usize,
    memory: Memory,
}

impl Bench {
    fn measure(&mut self, resource: Resource, isa: Isa, threads: usize) -> f64 {
        match resource {
            Resource::Fma => fma_peak(isa, threads),
            Resource::Bf16Dot => bf16_dot_peak(isa, threads),
            Resource::Exp => elementary_rate(isa, Elementary::Exp, threads),
            Resource::Bandwidth(traffic, level) => self.memory.bandwidth(traffic, level, threads),
        }
    }

    /// Rounds of ceiling, kernel, ceiling; the round with the median fraction is the row.
    fn row(&mut self, case: &dyn Workload, cpu: &Cpu, ceilings: &Ceilings) -> Option<Row> {
        let (isa, threads) = (cpu.isa(), cpu.threads());
        if !format!("{}/cpu-{isa}/t{threads}", case.id()).contains(&self.filter) {
            return None;
        }
        let mut placed = checked(case, cpu);
        let start = Instant::now();
        placed.run();
        let repeats = (0.04 / start.elapsed().as_secs_f64()).clamp(1.0, 20_000.0) as usize;
        let work = case.work();
        let limit = ceilings.limit(&work, self.memory.level(work.resident, threads));
        let mut rounds = Vec::new();
        let mut before = self.measure(limit, isa, threads);
        for _ in 0..self.rounds {
            let start = Instant::now();
            (0..repeats).for_each(|_| placed.run());
            let seconds = start.elapsed().as_secs_f64() / repeats as f64;
            let after = self.measure(limit, isa, threads);
            rounds.push((limit.amount(&work) / seconds, before.max(after), seconds));
            before = after;
        }
        rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (achieved, ceiling, seconds) = rounds[rounds.len() / 2];
        let fraction = |round: &(f64, f64, f64)| round.0 / round.1;
        let row = Row {
            case: case.id(),
            kernel: case.op().into(),
            shape: case.shape(),
            dtype: case.dtype().to_string(),
            mode: case.mode(),
            isa,
            threads,
            work,
            limit,
            achieved,
            ceiling,
            seconds,
            lowest: fraction(&rounds[0]),
            highest: fraction(&rounds[rounds.len() - 1]),
        };
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
        cases.push((Box::new(Product::new(role, sizes, dtype)), sets));
    }
    if harness::cpus().iter().any(|cpu| bf16_dot_peak(cpu.isa(), 1) > 0.0) {
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

fn main() {
    let mut arguments = std::env::args().skip(1);
    let quick = harness::quick();
    let filter = arguments.find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut bench = Bench { filter, rounds: if quick { 1 } else { 5 }, memory: Memory::new() };
    let mut threads = vec![1, harness::cpus()[0].threads()];
    threads.dedup();
    if quick {
        threads.drain(..threads.len() - 1);
    }
    let isas: Vec<Isa> = harness::cpus().iter().map(Cpu::isa).collect();

    let mut ceilings = Vec::new();
    let mut measured = Vec::new();
    for &threads in &threads {
        let mut bandwidth = Vec::new();
        for level in Level::ALL {
            for traffic in Traffic::ALL {
                let rate = bench.memory.bandwidth(traffic, level, threads);
                bandwidth.push((traffic, level, rate));
                let name = Resource::Bandwidth(traffic, level).name();
                measured.push(ceiling(&name, Memory::isa().name(), threads, rate, "GB/s"));
            }
        }
        for &isa in &isas {
            let known = Ceilings::measure(isa, threads, &bandwidth);
            measured.extend(known.arithmetic());
            ceilings.push(known);
        }
    }
    let mut rows = Vec::new();
    for (case, sets) in cases() {
        for &threads in &threads {
            // the portable path has no vector instructions to count on
            for &isa in isas
                .iter()
                .take(if quick { 1 } else { sets })
                .filter(|&&isa| isas.len() == 1 || isa != Isa::Portable)
            {
                let cpu = Cpu::builder().isa(isa).threads(threads).build().expect("this CPU has it");
                let known = ceilings.iter().find(|known| known.isa == isa && known.threads == threads);
                rows.extend(bench.row(&*case, &cpu, known.expect("each pair is measured")));
            }
        }
    }
    let target = files::target_directory();
    files::write_list(&target.join("ceilings.json"), &measured);
    files::write_list(&target.join("roofline.json"), &rows.iter().map(Row::json).collect::<Vec<_>>());
    let path = target.join("roofline.svg");
    plot::draw(&path, &ceilings, &rows).unwrap_or_else(|error| panic!("cannot draw: {error}"));
    println!("wrote {}", path.display());
}
