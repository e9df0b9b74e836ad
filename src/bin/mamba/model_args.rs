//! The arguments that choose a model and a backend.

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use mamba_kernels::model::{Mamba, WeightFormats};
use mamba_kernels::{Backend, Cpu, Reference, WeightFormat};
use std::io::Write;
use std::path::PathBuf;

/// The model and its backend.
#[derive(Args)]
pub struct ModelArgs {
    /// A directory with config.json and model.safetensors (or shards and their index). Without it, the small model
    /// inside this program
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    model: Option<PathBuf>,
    /// What runs the model; `mamba info` lists what this machine has. Without it, the fastest
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(backend_names()))]
    backend: Option<String>,
    /// Threads of the cpu backend. Without it, one per core
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Multiply matrices in bf16 on the cpu backend: inexact, and faster on CPUs with AVX512-BF16 only. `mamba info`
    /// says whether this CPU emulates it, which is slower than exact products
    #[arg(long)]
    bf16_products: bool,
}

/// What a command does on the backend that was chosen.
pub trait Task {
    fn run<B: Backend>(self, backend: B) -> anyhow::Result<()>;
}

impl ModelArgs {
    /// Makes the backend that the arguments name, and runs the task on it.
    pub fn run(&self, task: impl Task) -> anyhow::Result<()> {
        let name = self.backend.as_deref().unwrap_or_else(|| mamba_kernels::best());
        if self.threads.is_some() && name != "cpu" {
            return Err(Usage(format!("--threads is for the cpu backend, not for {name}")).into());
        }
        if self.bf16_products && name != "cpu" {
            return Err(Usage(format!("--bf16-products is for the cpu backend, not for {name}")).into());
        }
        match name {
            "cpu" => {
                let cpu = self.cpu()?;
                if self.bf16_products && cpu.emulates(WeightFormat::Bf16Pairs) {
                    let isa = cpu.isa();
                    // if standard error is closed, nobody reads it
                    let _ = writeln!(
                        std::io::stderr(),
                        "warning: {isa} vectors have no bf16 dot products on this CPU: --bf16-products emulates them, \
                         which is slower than without it"
                    );
                }
                task.run(cpu)
            }
            "reference" => task.run(Reference),
            #[cfg(feature = "cuda")]
            "cuda" => task.run(mamba_kernels::Cuda::new()?),
            _ => Err(unavailable(name).into()),
        }
    }

    fn cpu(&self) -> mamba_kernels::Result<Cpu> {
        let builder = Cpu::builder();
        match self.threads {
            Some(threads) => builder.threads(threads.into()).build(),
            None => builder.build(),
        }
    }
}

impl ModelArgs {
    /// The model that the arguments name.
    pub fn source(&self) -> ModelSource {
        let formats = match self.bf16_products {
            true => WeightFormats::all(WeightFormat::Bf16Pairs),
            false => WeightFormats::default(),
        };
        ModelSource { dir: self.model.clone(), formats }
    }
}

/// A checkpoint's directory, or the model inside this program, and the formats of its matrices.
pub struct ModelSource {
    pub dir: Option<PathBuf>,
    formats: WeightFormats,
}

impl ModelSource {
    pub fn load<B: Backend>(&self, backend: B) -> anyhow::Result<Mamba<B>> {
        let model = match self.dir.as_deref() {
            Some(dir) => Mamba::load_as(backend, dir, self.formats)
                .with_context(|| format!("cannot load the model in {}", dir.display()))?,
            None => Mamba::demo_as(backend, self.formats)?,
        };
        for note in model.notes() {
            // No text depends on it, so standard error may be closed.
            let _ = writeln!(std::io::stderr(), "note: {note}");
        }
        Ok(model)
    }
}

fn backend_names() -> Vec<&'static str> {
    mamba_kernels::list().iter().map(|backend| backend.name).collect()
}

fn unavailable(name: &str) -> mamba_kernels::Error {
    let listed = mamba_kernels::list().into_iter().find(|backend| backend.name == name);
    let reason = listed.and_then(|backend| backend.status.err());
    let reason = reason.unwrap_or_else(|| "this program was built without it".into());
    mamba_kernels::Error::Unavailable { backend: name.into(), reason }
}

/// Arguments that are wrong together.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}
