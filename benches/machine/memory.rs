//! Read, write and copy bandwidth of each level, each by the fastest of a few forms of the loop.

use super::streams::{self, Form};
use super::{Level, Levels, Loop, Spread};
use mamba_kernels::cpu::Isa;
use memmap2::{Advice, MmapMut};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Mutex;

/// What a loop does to memory. Bandwidth is bytes read plus bytes written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Traffic {
    Read,
    Write,
    /// Through the caches, as a kernel writes whose output is wanted soon.
    Copy,
}

impl Traffic {
    pub const ALL: [Traffic; 3] = [Traffic::Read, Traffic::Write, Traffic::Copy];

    pub fn name(self) -> &'static str {
        match self {
            Traffic::Read => "read",
            Traffic::Write => "write",
            Traffic::Copy => "copy",
        }
    }

    /// The forms that compete. Non-temporal stores count for writing only.
    fn forms(self, level: Level) -> Vec<Form> {
        let form = |streams, ahead, past| Form { streams, ahead, past };
        let mut forms: Vec<Form> = [1, 2, 4].map(|streams| form(streams, 0, false)).into();
        if level == Level::Memory || level == Level::L3 {
            match self {
                Traffic::Write => forms.push(form(1, 0, true)),
                _ => forms.extend(
                    [(1, 1024), (1, 4096), (2, 2048), (4, 1024), (4, 4096), (8, 0)]
                        .map(|(s, a)| form(s, a, false)),
                ),
            }
        }
        forms
    }
}

/// Elements by which the target starts later than the source.
const APART: usize = 528;

/// Bytes that a call of a loop over memory goes through on each thread. The next call goes on where it ended.
const CALL: usize = 16 << 20;

/// Rounds and seconds of a window by which the fastest form is found.
const TRIALS: (usize, f64) = (5, 0.004);

/// Two areas that everything is measured in, a part of them per thread.
pub struct Memory {
    isa: Isa,
    levels: Levels,
    source: MmapMut,
    target: MmapMut,
    /// The fastest form of each.
    best: HashMap<(Traffic, Level, usize), Form>,
    /// Loops that were made: each over memory starts at another place.
    made: usize,
}

/// Of each area: so large that no cache keeps a share of it that counts.
const BYTES: usize = 1 << 30;

impl Memory {
    pub fn new() -> Self {
        let area = || {
            let mut area = MmapMut::map_anon(BYTES).expect("there is memory");
            // huge pages if the system grants them; it may refuse
            #[cfg(target_os = "linux")]
            let _ = area.advise(Advice::HugePage);
            area.fill(0);
            area
        };
        Self {
            isa: Self::isa(),
            levels: Levels::detect(),
            source: area(),
            target: area(),
            best: HashMap::default(),
            made: 0,
        }
    }

    /// Whose vectors the loops use: the widest of this machine.
    pub fn isa() -> Isa {
        Isa::available().next().unwrap_or(Isa::Portable)
    }

    pub fn level(&self, bytes: f64, threads: usize) -> Level {
        self.levels.of(bytes, threads)
    }

    /// The loop whose form is the fastest, by the medians of short windows in turns; in bytes.
    pub fn traffic(&mut self, traffic: Traffic, level: Level, threads: usize) -> Loop<'_> {
        let key = (traffic, level, threads);
        let form = match self.best.get(&key) {
            Some(&form) => form,
            None => {
                let forms = traffic.forms(level);
                let mut rates = vec![Vec::new(); forms.len()];
                for _ in 0..TRIALS.0 {
                    for (form, rates) in forms.iter().zip(&mut rates) {
                        rates.push(self.of_form(traffic, level, threads, *form).window(TRIALS.1));
                    }
                }
                let medians = rates.into_iter().map(|rates| Spread::of(rates).median);
                let best = forms.into_iter().zip(medians).max_by(|a, b| a.1.total_cmp(&b.1));
                best.expect("there are forms").0
            }
        };
        self.best.insert(key, form);
        self.of_form(traffic, level, threads, form)
    }

    fn of_form(&mut self, traffic: Traffic, level: Level, threads: usize, form: Form) -> Loop<'_> {
        let unit = 256 * 8; // a step of the most streams
        let arrays = if traffic == Traffic::Copy { 2 } else { 1 };
        // elements of a thread's part of an area, in whole pages, and those of a call
        let part = BYTES / 4 / threads / 1024 * 1024;
        let bytes = match self.levels.bytes(level, threads) {
            Some(bytes) => (bytes / arrays / unit * unit).max(unit),
            None => CALL.min(part * 4 / 2 / unit * unit),
        };
        // a cache's array again and again, a MiB in a call; of memory, each call the next piece
        let (inner, pieces) = match level {
            Level::Memory => (1, (part - APART) / (bytes / 4)),
            _ => (((1 << 20) / bytes).max(1), 1),
        };
        self.made += 1;
        let (isa, first) = (self.isa, 8 * self.made);
        let source: &[f32] = bytemuck::cast_slice(&self.source);
        let own: Vec<_> = bytemuck::cast_slice_mut::<u8, f32>(&mut self.target)
            .chunks_exact_mut(part)
            .take(threads)
            .map(|target| Mutex::new((target, first)))
            .collect();
        Loop::new(threads, (bytes * arrays * inner) as f64, move |thread| {
            let mut own = own[thread].lock().expect("no thread panics");
            let (target, call) = &mut *own;
            let start = *call % pieces * (bytes / 4);
            *call += 1;
            let source = &source[thread * part + start..][..bytes / 4];
            // not at the same place of a page as the source, which would slow copies down
            let target = &mut target[APART + start..][..bytes / 4];
            for _ in 0..inner {
                match traffic {
                    Traffic::Read => _ = black_box(streams::read(isa, black_box(source), form)),
                    Traffic::Write => streams::write(isa, black_box(&mut *target), 1.0, form),
                    Traffic::Copy => streams::copy(isa, black_box(source), black_box(&mut *target), form),
                }
            }
        })
    }
}
