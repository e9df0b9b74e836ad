//! Continuous batching for as long as one likes: sequences arrive, are continued, cancelled, copied and saved at random,
//! and each has the bits that it has alone; memory does not grow.
//!
//! ```text
//! cargo run --release --example soak -- SECONDS [SEED]
//! ```
//!
//! At each step some prompts arrive, in pieces of random length, and every running sequence advances by a token, in one
//! call with slots in any order and padding among them. Sometimes the whole state is saved to a file and read back, and a
//! slot is copied to another, where the sequence goes on in a different way. When a sequence ends, its tokens go through
//! the model alone: the logits of every call must be the same bits, and so must the state. Once a second the resident
//! memory is noted; it may not grow by more than a tenth from the first tenth of the time to the last.

use mamba_kernels::model::{Config, Logits, Mamba, ModelError, Scratch, Source, State};
use mamba_kernels::{Backend, Batch, Cpu, Rows, Slot, WeightFormat};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use std::error::Error;
use std::time::{Duration, Instant};

const SLOTS: usize = 12;
const VOCAB: usize = 96;
const CONFIG: &str = r#"{ "d_model": 48, "n_layer": 3, "vocab_size": 96, "ssm_cfg": { "d_state": 16 } }"#;

/// Weights of a fixed order of magnitude.
struct Random;

fn weights(name: &str, count: usize) -> Vec<f32> {
    let mut rng =
        Pcg64::seed_from_u64(name.bytes().fold(1, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte)));
    let scale = if name.ends_with("A_log") { 1.0 } else { 0.3 };
    (0..count).map(|_| (rng.next_u32() as f32 / (1u64 << 31) as f32 - 1.0) * scale).collect()
}

impl Source for Random {
    fn matrix<B: Backend>(
        &self,
        backend: &B,
        names: &[&str],
        [rows, cols]: [usize; 2],
        format: Option<WeightFormat>,
    ) -> Result<B::Weights, ModelError> {
        let values = weights(names[0], rows * cols);
        Ok(backend.pack_as(Rows::new(&values[..], rows, cols)?, format.unwrap_or(WeightFormat::F32))?)
    }

    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        Ok(weights(name, shape.iter().product()))
    }
}

/// A sequence in a slot.
#[derive(Clone)]
struct Running {
    tokens: Vec<u32>,
    /// Tokens of the prompt that are still to come.
    waiting: Vec<u32>,
    /// How many tokens it will have.
    length: usize,
    /// After how many tokens a call returned logits, and the bits of those.
    seen: Vec<(usize, Vec<u32>)>,
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Resident memory in KiB, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn below(rng: &mut Pcg64, end: usize) -> usize {
    (rng.next_u64() % end as u64) as usize
}

struct Soak {
    model: Mamba<Cpu>,
    state: State<Cpu>,
    scratch: Scratch<Cpu>,
    rng: Pcg64,
    running: Vec<Option<Running>>,
    file: tempfile::NamedTempFile,
    finished: u64,
    cancelled: u64,
    copied: u64,
    saved: u64,
    tokens: u64,
}

impl Soak {
    /// A sequence that has ended goes through the model alone.
    fn check(&mut self, slot: usize, sequence: &Running) -> Result<(), Box<dyn Error>> {
        let mut alone = self.model.new_state(1)?;
        let batch = Batch::single(sequence.tokens.len());
        let logits =
            self.model.forward(&sequence.tokens, &batch, &mut alone, Logits::All, &mut self.scratch)?;
        for (length, seen) in &sequence.seen {
            let expected = bits(&logits[(length - 1) * VOCAB..length * VOCAB]);
            if expected != *seen {
                return Err(
                    format!("logits after {length} tokens differ from those of the sequence alone").into()
                );
            }
        }
        let mut last = self.model.new_state(1)?;
        last.copy_slot_from(self.model.backend(), &self.state, slot, 0)?;
        let backend = self.model.backend();
        let same = |a: Vec<f32>, b: Vec<f32>| bits(&a) == bits(&b);
        for layer in 0..alone.layers() {
            if same(alone.conv_state(backend, layer)?, last.conv_state(backend, layer)?)
                && same(alone.ssm_state(backend, layer)?, last.ssm_state(backend, layer)?)
            {
                continue;
            }
            return Err("the state differs from that of the sequence alone".into());
        }
        Ok(())
    }

    /// One call: a piece of each prompt, a token of each other sequence, and some padding.
    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        for slot in 0..SLOTS {
            if self.running[slot].is_none() && below(&mut self.rng, 4) == 0 {
                let longest = if below(&mut self.rng, 10) == 0 { 400 } else { 40 };
                let prompt = 1 + below(&mut self.rng, longest);
                let waiting = (0..prompt).map(|_| below(&mut self.rng, VOCAB) as u32).collect();
                let length = prompt + below(&mut self.rng, 60);
                self.state.reset(self.model.backend(), slot)?;
                self.running[slot] = Some(Running { tokens: Vec::new(), waiting, length, seen: Vec::new() });
            }
        }
        let mut order: Vec<usize> = (0..SLOTS).filter(|&slot| self.running[slot].is_some()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, below(&mut self.rng, i + 1));
        }
        let (mut tokens, mut lengths, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for &slot in &order {
            if below(&mut self.rng, 8) == 0 {
                let padding = below(&mut self.rng, 5);
                tokens.extend(std::iter::repeat_n(0, padding));
                lengths.push(padding);
                slots.push(Slot::PADDING);
            }
            let piece = 1 + below(&mut self.rng, 70);
            let sequence = self.running[slot].as_mut().ok_or("a running sequence")?;
            let piece: Vec<u32> = if sequence.waiting.is_empty() {
                let last = sequence.seen.last().map_or(&[][..], |(_, logits)| logits);
                let best = (0..last.len())
                    .max_by(|&a, &b| f32::from_bits(last[a]).total_cmp(&f32::from_bits(last[b])));
                vec![best.unwrap_or(0) as u32]
            } else {
                sequence.waiting.drain(..piece.min(sequence.waiting.len())).collect()
            };
            sequence.tokens.extend(&piece);
            lengths.push(piece.len());
            tokens.extend(piece);
            slots.push(Slot::new(slot as u32));
        }
        let mut offsets = vec![0];
        lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
        let batch = Batch::new(&offsets, &slots)?;
        let logits = self.model.forward(&tokens, &batch, &mut self.state, Logits::Last, &mut self.scratch)?;
        self.tokens += tokens.len() as u64;
        for (i, slot) in slots.iter().enumerate() {
            let Some(slot) = slot.index() else { continue };
            let sequence = self.running[slot].as_mut().ok_or("a running sequence")?;
            sequence.seen.push((sequence.tokens.len(), bits(&logits[i * VOCAB..(i + 1) * VOCAB])));
        }
        self.disturb(&order)
    }

    /// Sequences end or are cancelled; slots are copied, and the state is saved and read back.
    fn disturb(&mut self, order: &[usize]) -> Result<(), Box<dyn Error>> {
        for &slot in order {
            let done = self.running[slot].as_ref().is_some_and(|sequence| {
                sequence.waiting.is_empty() && sequence.tokens.len() >= sequence.length
            });
            let cancelled = !done && below(&mut self.rng, 200) == 0;
            if done || cancelled {
                let sequence = self.running[slot].take().ok_or("a running sequence")?;
                self.check(slot, &sequence)?;
                self.finished += u64::from(done);
                self.cancelled += u64::from(cancelled);
            }
        }
        let free = (0..SLOTS).find(|&slot| self.running[slot].is_none());
        let from = (0..SLOTS).find(|&slot| self.running[slot].is_some());
        if let (Some(from), Some(to), 0) = (from, free, below(&mut self.rng, 20)) {
            let mut copy = self.running[from].clone().ok_or("a running sequence")?;
            copy.waiting =
                (0..1 + below(&mut self.rng, 9)).map(|_| below(&mut self.rng, VOCAB) as u32).collect();
            copy.length = copy.tokens.len() + copy.waiting.len() + below(&mut self.rng, 20);
            self.state.copy_slot(self.model.backend(), from, to)?;
            self.running[to] = Some(copy);
            self.copied += 1;
        }
        if below(&mut self.rng, 50) == 0 {
            self.state.save(self.model.backend(), self.file.path())?;
            self.state = State::load(self.model.backend(), self.model.config(), self.file.path())?;
            self.saved += 1;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().ok_or("usage: soak SECONDS [SEED]")?.parse()?;
    let seed: u64 = args.next().map_or(Ok(1), |seed| seed.parse())?;
    let model = Mamba::from_source(Cpu::new(), Config::from_json(CONFIG)?, &Random)?;
    let mut soak = Soak {
        state: model.new_state(SLOTS)?,
        model,
        scratch: Scratch::with_segment_tokens(64),
        rng: Pcg64::seed_from_u64(seed),
        running: vec![None; SLOTS],
        file: tempfile::NamedTempFile::new()?,
        finished: 0,
        cancelled: 0,
        copied: 0,
        saved: 0,
        tokens: 0,
    };
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut memory: Vec<u64> = Vec::new();
    let mut calls = 0u64;
    while start.elapsed() < limit {
        soak.step()?;
        calls += 1;
        if start.elapsed().as_secs() >= memory.len() as u64 {
            memory.extend(resident());
        }
    }
    println!(
        "{calls} calls, {} tokens in {} s: {} sequences ended, {} were cancelled, {} copied; the state was saved and read {} times",
        soak.tokens,
        start.elapsed().as_secs(),
        soak.finished,
        soak.cancelled,
        soak.copied,
        soak.saved
    );
    println!("every one had the bits, logits and state, that it has alone");
    let tenth = memory.len().div_ceil(10);
    let most = |range: &[u64]| range.iter().max().copied().unwrap_or(0);
    let (first, last) = (most(&memory[..tenth]), most(&memory[memory.len() - tenth..]));
    println!("resident memory: at most {first} KiB in the first tenth, {last} KiB in the last");
    if first > 0 && last > first + first / 10 {
        return Err("memory has grown by more than a tenth".into());
    }
    Ok(())
}
