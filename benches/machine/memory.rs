//! Read, write and copy bandwidth of each level, each by the fastest of a few forms of the loop.

use super::streams::{self, Form};
use super::{Level, Levels, seconds_on};
use mamba_kernels::cpu::Isa;
use memmap2::{Advice, MmapMut};
use std::collections::HashMap;
use std::hint::black_box;

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

/// Forms that are measured again when a ceiling is measured again.
const CONTENDERS: usize = 2;

/// Elements by which the target starts later than the source.
const APART: usize = 528;

/// Two areas that everything is measured in, a part of them per thread.
pub struct Memory {
    isa: Isa,
    levels: Levels,
    source: MmapMut,
    target: MmapMut,
    /// The fastest forms of what has been measured.
    best: HashMap<(Traffic, Level, usize), Vec<Form>>,
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
        }
    }

    /// Whose vectors the loops use: the widest of this machine.
    pub fn isa() -> Isa {
        Isa::available().next().unwrap_or(Isa::Portable)
    }

    pub fn level(&self, bytes: f64, threads: usize) -> Level {
        self.levels.of(bytes, threads)
    }

    /// Bytes per second, the best of the forms that were fastest in the first measurement.
    pub fn bandwidth(&mut self, traffic: Traffic, level: Level, threads: usize) -> f64 {
        let key = (traffic, level, threads);
        let forms = self.best.get(&key).cloned().unwrap_or_else(|| traffic.forms(level));
        let mut found: Vec<(f64, Form)> =
            forms.into_iter().map(|form| (self.measure(traffic, level, threads, form, 3), form)).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.best.insert(key, found.iter().take(CONTENDERS).map(|&(_, form)| form).collect());
        found[0].0
    }

    fn measure(&mut self, traffic: Traffic, level: Level, threads: usize, form: Form, tries: usize) -> f64 {
        let unit = 256 * 8; // a step of the most streams
        let arrays = if traffic == Traffic::Copy { 2 } else { 1 };
        let all = BYTES / 2;
        let bytes = self.levels.bytes(level, threads, all) / arrays / unit * unit;
        // some megabytes between two readings of the clock
        let (inner, repeats) = (((4 << 20) / bytes).max(1), if bytes < 32 << 20 { 8 } else { 1 });
        let isa = self.isa;
        let source: &[f32] = bytemuck::cast_slice(&self.source);
        let targets: Vec<_> = bytemuck::cast_slice_mut::<u8, f32>(&mut self.target)
            .chunks_exact_mut(BYTES / 4 / threads)
            .map(std::sync::Mutex::new)
            .collect();
        let seconds = (0..tries).map(|_| {
            seconds_on(threads, repeats, |thread| {
                let source = &source[thread * (BYTES / 4 / threads)..][..bytes / 4];
                let mut target = targets[thread].lock().expect("no thread panics");
                // not at the same place of a page as the source, which would slow copies down
                let target = &mut target[APART..APART + bytes / 4];
                for _ in 0..inner {
                    match traffic {
                        Traffic::Read => _ = black_box(streams::read(isa, black_box(source), form)),
                        Traffic::Write => streams::write(isa, black_box(&mut *target), 1.0, form),
                        Traffic::Copy => streams::copy(isa, black_box(source), black_box(&mut *target), form),
                    }
                }
            })
        });
        (bytes * arrays * threads * inner) as f64 / seconds.fold(f64::INFINITY, f64::min)
    }
}
