//! The `mamba` command: text from a model, logits to a file, and what this machine has.
#![forbid(unsafe_code)]

mod generate;
mod info;
mod logits;
mod text;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use mamba_kernels::cpu::Products;
use mamba_kernels::model::Mamba;
use mamba_kernels::{Backend, Cpu, Reference};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs Mamba models
///
/// Results go to standard output, messages to standard error. The exit code is 0, or 1 after an error, or 2 where the
/// arguments are wrong.
#[derive(Parser)]
#[command(name = "mamba", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Generate(generate::Generate),
    Logits(logits::LogitsToFile),
    Info(info::Info),
}

/// The model, and what runs it.
#[derive(Args)]
struct ModelArgs {
    /// A directory with config.json and model.safetensors (or shards and their index). Without it, the small model
    /// inside this program
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// What runs the model; `mamba info` lists what this machine has. Without it, the fastest
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(backend_names()))]
    backend: Option<String>,
    /// Threads of the cpu backend. Without it, one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Matrix products of bf16 numbers on the cpu backend: inexact, faster where the CPU has AVX512-BF16
    #[arg(long)]
    bf16_products: bool,
}

/// What a command does on the backend that was chosen.
trait Task {
    fn run<B: Backend>(self, backend: B) -> anyhow::Result<()>;
}

impl ModelArgs {
    /// Makes the backend that the arguments name, and runs the task on it.
    fn run(&self, task: impl Task) -> anyhow::Result<()> {
        let name = self.backend.as_deref().unwrap_or_else(|| mamba_kernels::best());
        if self.threads.is_some() && name != "cpu" {
            return Err(Usage(format!("--threads is for the cpu backend, not for {name}")).into());
        }
        if self.bf16_products && name != "cpu" {
            return Err(Usage(format!("--bf16-products is for the cpu backend, not for {name}")).into());
        }
        match name {
            "cpu" => task.run(self.cpu()?),
            "reference" => task.run(Reference),
            #[cfg(feature = "cuda")]
            "cuda" => task.run(mamba_kernels::Cuda::new()?),
            _ => Err(unavailable(name).into()),
        }
    }

    fn cpu(&self) -> mamba_kernels::Result<Cpu> {
        let products = if self.bf16_products { Products::Bf16Dot } else { Products::Exact };
        let builder = Cpu::builder().products(products);
        match self.threads {
            Some(threads) => builder.threads(threads.into()).build(),
            None => builder.build(),
        }
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

/// The model in `dir`, or the one inside this program.
fn load<B: Backend>(backend: B, dir: Option<&Path>) -> anyhow::Result<Mamba<B>> {
    match dir {
        Some(dir) => {
            Mamba::load(backend, dir).with_context(|| format!("cannot load the model in {}", dir.display()))
        }
        None => Ok(Mamba::demo(backend)?),
    }
}

/// Arguments that are wrong together.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The error and its causes in one line, without those that the text before already ends with.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether the reader of standard output has gone, as `head` does. There is nobody to tell.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Generate(command) => command.run(),
        Command::Logits(command) => command.run(),
        Command::Info(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed as well, the exit code is all that is left.
            let _ = writeln!(std::io::stderr(), "error: {}", message(&error));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
