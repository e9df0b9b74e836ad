//! `mamba info`: the version and the backends of this machine.

use clap::Args;
use mamba_kernels::{Cpu, WeightFormat};
use std::io::Write;

/// Show the version and the backends of this machine
#[derive(Args)]
pub struct Info {}

impl Info {
    pub fn run(self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "mamba-kernels {}", env!("CARGO_PKG_VERSION"))?;
        let best = mamba_kernels::best();
        for backend in mamba_kernels::list() {
            let name = backend.name;
            match backend.status {
                Ok(description) if name == best => writeln!(out, "{name:<10} {description} (default)")?,
                Ok(description) => writeln!(out, "{name:<10} {description}")?,
                Err(reason) => writeln!(out, "{name:<10} not available: {reason}")?,
            }
            if name == "cpu"
                && let Ok(cpu) = Cpu::builder().build()
            {
                writeln!(out, "{:<10} caches: {}", "", cpu.caches())?;
                let bf16_products = match cpu.emulates(WeightFormat::Bf16Pairs) {
                    true => "emulated, slower than exact products",
                    false => "fast",
                };
                writeln!(out, "{:<10} --bf16-products: {bf16_products}", "")?;
            }
        }
        out.flush()?;
        Ok(())
    }
}
