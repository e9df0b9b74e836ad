//! `mamba generate`: the text that continues a prompt.

use crate::model_args::{ModelArgs, ModelSource, Task};
use crate::text::Codec;
use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mamba_kernels::Backend;
use mamba_kernels::model::{GenerateOptions, Generation, GenerationConfig, Sampler, Sampling};
use std::io::{IsTerminal, Read, Write};
use std::time::{Duration, Instant};

const DEFAULT_PROMPT: &str = "It was a";

/// Prompts of more tokens than this get a progress bar.
const LONG_PROMPT: usize = 512;

/// Continue a text
///
/// Prints the prompt and what the model adds to it, as it comes. Speeds go to standard error. On the cpu backend,
/// equal arguments give equal text on every machine and with any number of threads.
///
/// Without an option of sampling, the value of the model's generation_config.json is used, where `do_sample: false` is
/// temperature 0, or else the one named here. The text ends at an eos_token_id of that file, or else of config.json.
#[derive(Args)]
pub struct Generate {
    /// The text to continue; `-` reads it from standard input. Without it, what is piped in, or else "It was a"
    ///
    /// The last line end of standard input is not part of the prompt. An empty prompt ("") starts from a newline
    /// if the model's tokens are bytes, else from the token that separates texts (eos_token_id).
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Print the new text only, without the prompt
    #[arg(long)]
    no_echo: bool,
    /// The most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 300, allow_negative_numbers = true)]
    max_tokens: usize,
    /// Higher is more varied, 0 always takes the most probable token [default: the model's, or 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    temperature: Option<f64>,
    /// Choose among the K most probable tokens; 0 is no limit [default: the model's, or 0]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Choose among the most probable tokens that together have the probability P [default: the model's, or 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    top_p: Option<f64>,
    /// Above 1, tokens that occurred become less probable [default: the model's, or 1]
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = penalty)]
    repetition_penalty: Option<f64>,
    /// Another number, another text
    #[arg(long, value_name = "S", default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    model: ModelArgs,
}

fn number(text: &str, holds: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && holds(*number));
    number.ok_or_else(|| format!("expected {expected}"))
}

fn temperature(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 0.0, "a number, 0 or more")
}

fn probability(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0 && number <= 1.0, "a number above 0, at most 1")
}

fn penalty(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0, "a number above 0")
}

impl Generate {
    pub fn run(self) -> anyhow::Result<()> {
        let prompt = read_prompt(self.prompt.as_deref())?;
        let Self { no_echo, max_tokens, temperature, top_k, top_p, repetition_penalty, seed, model, .. } =
            self;
        let mut chosen = GenerationConfig::default();
        chosen.temperature = temperature;
        chosen.top_k = top_k;
        chosen.top_p = top_p;
        chosen.repetition_penalty = repetition_penalty;
        let task = Continue { model: model.source(), prompt, echo: !no_echo, max_tokens, chosen, seed };
        model.run(task)
    }
}

/// The prompt as the help says: from the argument, from standard input, or the default.
fn read_prompt(argument: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut stdin = std::io::stdin();
    match argument {
        Some("-") => {}
        Some(text) => return Ok(text.into()),
        None if stdin.is_terminal() => return Ok(DEFAULT_PROMPT.into()),
        None => {}
    }
    let mut prompt = Vec::new();
    stdin.read_to_end(&mut prompt).context("cannot read the prompt from standard input")?;
    if argument.is_none() && prompt.is_empty() {
        return Ok(DEFAULT_PROMPT.into());
    }
    if prompt.ends_with(b"\n") {
        prompt.pop();
        if prompt.ends_with(b"\r") {
            prompt.pop();
        }
    }
    Ok(prompt)
}

struct Continue {
    model: ModelSource,
    prompt: Vec<u8>,
    echo: bool,
    max_tokens: usize,
    /// The options of sampling that were given. For the others the model's values stand, or else those of the help.
    chosen: GenerationConfig,
    seed: u64,
}

impl Task for Continue {
    fn run<B: Backend>(self, backend: B) -> anyhow::Result<()> {
        let Self { model: source, prompt, echo, max_tokens, chosen, seed } = self;
        let model = source.load(backend)?;
        let codec = Codec::open(source.dir.as_deref(), model.config().vocab_size)?;
        let stop_tokens = codec.ends_of_text(model.eos_token_ids());
        let help = Sampling { temperature: 0.8, top_p: 0.95, seed, ..Sampling::default() };
        let sampler = Sampler::new(chosen.sampling(model.generation_config().sampling(help)))?;
        let options = GenerateOptions { max_tokens, stop_tokens, sampler };

        let mut decoder = codec.decoder();
        let mut out = Output::default();
        let mut tokens = codec.encode(&prompt)?;
        let text = decoder.prompt(&tokens, &prompt)?;
        if echo {
            out.buffer(&text);
        }
        if tokens.is_empty() {
            tokens.push(codec.first_token(model.eos_token_ids())?);
        }
        let read = tokens.len();
        let mut generation = Generation::new(&model, &tokens, options)?;
        out.flush()?;

        let start = Instant::now();
        let bar = progress_bar(read);
        generation.prefill(|done, _| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let prefill = start.elapsed();

        let start = Instant::now();
        let mut generated = 0;
        for token in generation {
            out.buffer(&decoder.push(token?)?);
            out.flush()?;
            generated += 1;
        }
        let decode = start.elapsed();
        out.buffer(&decoder.finish()?);
        out.end_line();
        out.flush()?;
        report(read, prefill, generated, decode);
        Ok(())
    }
}

/// Standard output, written when there is text for it.
#[derive(Default)]
struct Output {
    text: String,
    last: Option<char>,
}

impl Output {
    fn buffer(&mut self, text: &str) {
        self.text.push_str(text);
        self.last = text.chars().next_back().or(self.last);
    }

    /// Ends the last line if it has no line end.
    fn end_line(&mut self) {
        if self.last.is_some_and(|last| last != '\n') {
            self.buffer("\n");
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(self.text.as_bytes()).and_then(|()| stdout.flush());
        self.text.clear();
        written.context("cannot write to standard output")
    }
}

/// A progress bar for long prompts, visible if standard error is a terminal.
fn progress_bar(tokens: usize) -> ProgressBar {
    if tokens <= LONG_PROMPT {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(tokens as u64);
    match ProgressStyle::with_template(
        "reading the prompt {wide_bar} {human_pos}/{human_len} tokens, {eta} left",
    ) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The speeds, to standard error. The first token comes from the prompt's logits, so it is not a step of decoding.
fn report(read: usize, prefill: Duration, generated: usize, decode: Duration) {
    let speed = |tokens: usize, time: Duration| match time.as_secs_f64() {
        seconds if tokens > 0 && seconds > 0.0 => format!(", {:.1} tokens/s", tokens as f64 / seconds),
        _ => String::new(),
    };
    let prompt = format!("prompt: {read} tokens{}", speed(read, prefill));
    let text = format!("generated: {generated} tokens{}", speed(generated.saturating_sub(1), decode));
    // No text depends on these lines, so standard error may be closed.
    let _ = writeln!(std::io::stderr(), "{prompt}\n{text}");
}
