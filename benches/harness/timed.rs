//! Cases as criterion benchmarks: `op/shape/type/backend-isa`.

use super::{Workload, checked};
use criterion::{BenchmarkId, Criterion, Throughput};
use mamba_kernels::cpu::{ISA_VARIABLE, Isa};
use mamba_kernels::{Backend, Cpu};
use std::time::Duration;

/// What criterion's throughput counts.
#[derive(Clone, Copy)]
pub enum Unit {
    /// `Gelem/s` is GFLOP/s.
    Flops,
    /// `Gelem/s` is G exp/s.
    Exps,
    /// `GB/s` read and written.
    Bytes,
    /// `GB/s` read, the written being little.
    BytesRead,
}

/// Operations of a run beyond which the portable path, which has no vector instructions to count on, is left out.
const PORTABLE_FLOPS: f64 = 3e8;

/// Whether criterion's `--quick` was given.
pub fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// A backend per instruction set that this machine has, or the one that the environment asks for.
pub fn cpus() -> Vec<Cpu> {
    match std::env::var_os(ISA_VARIABLE) {
        Some(_) => vec![Cpu::builder().build().unwrap_or_else(|error| panic!("{error}"))],
        None => Isa::available().map(|isa| Cpu::builder().isa(isa).build().unwrap()).collect(),
    }
}

/// Short runs: a full `cargo bench` takes minutes, one with `--quick` less than two.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(if quick() { 400 } else { 1500 }))
        .sample_size(10)
        .nresamples(5_000) // the resampling of the default takes longer than the measurements
        .configure_from_args()
}

/// Times a case on each instruction set, all threads; not on the portable path if that is slow or the run is to be
/// quick, unless it is the only one. Its outputs are checked before, once it is known to be wanted.
pub fn time(criterion: &mut Criterion, case: &dyn Workload, unit: Unit) {
    let work = case.work();
    let mut group = criterion.benchmark_group(format!("{}/{}", case.op(), case.shape()));
    group.throughput(match unit {
        Unit::Flops => Throughput::Elements((work.flops + work.bf16_flops) as u64),
        Unit::Exps => Throughput::Elements(work.exps as u64),
        Unit::Bytes => Throughput::BytesDecimal((work.read + work.written) as u64),
        Unit::BytesRead => Throughput::BytesDecimal(work.read as u64),
    });
    let cpus = cpus();
    for cpu in &cpus {
        let slow = quick() || work.flops + work.bf16_flops > PORTABLE_FLOPS;
        if cpu.isa() == Isa::Portable && slow && cpus.len() > 1 {
            continue;
        }
        let mut placed = None;
        let id = BenchmarkId::new(case.dtype().name(), format!("{}-{}", cpu.name(), cpu.isa()));
        group.bench_function(id, |bencher| {
            let placed = placed.get_or_insert_with(|| checked(case, cpu));
            bencher.iter(|| placed.run());
        });
    }
    group.finish();
}
