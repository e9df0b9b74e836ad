//! The `mamba` command: text from a model, logits to a file, and what this machine has.
#![forbid(unsafe_code)]

mod generate;
mod guarded;
mod info;
mod logits;
mod model_args;
mod text;
mod window;

use clap::{Parser, Subcommand};
use model_args::Usage;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Runs Mamba models
///
/// Results go to standard output, messages to standard error. The exit code is 0, or 1 after an error, or 2 if the
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

/// Whether the reader of standard output has gone, as `head` does. That is no error.
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
            // If standard error is closed too, only the exit code tells.
            let _ = writeln!(std::io::stderr(), "error: {}", message(&error));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
