//! The scan that is parallel over time: [`ScanOrder::Chunked`](crate::cpu::ScanOrder::Chunked).
//!
//! ```text
//! 1. of each chunk but the first and the last: p = exp2(Σ delta · (a · log2 e)), q = its last state from zeros
//! 2. the state before each chunk, in order: h[i + 1] = fma(p[i], h[i], q[i])
//! 3. each chunk but the first from the state before it, as in the sequential scan
//! ```
//!
//! A chunk is the affine map `h -> p h + q`. Maps compose, `(p2, q2) after (p1, q1) = (p2 p1, p2 q1 + q2)`; applied
//! to a state one after the other they need no products of `p`. The first chunk starts from the state of the sequence,
//! so that pass 1 scans it with its outputs. Passes 1 and 3 are parallel over chunks, all three over channels.

use super::{OP, STEPS_PER_PART, Scan, ScanPart, Scratch, Task};
use crate::arrays::Batch;
use crate::arrays::Element;
use crate::arrays::{Result, checked_product};
use crate::cpu::machine::isa::Kernel;
use crate::cpu::machine::threads::{Shared, part};
use crate::cpu::simd::{Simd, load, store};
use crate::cpu::{Cpu, Workspace};
use std::ops::Range;

/// Some tokens of one sequence.
#[derive(Debug, Clone)]
pub struct Chunk {
    rows: Range<usize>,
    /// `None` for padding.
    slot: Option<usize>,
    first: bool,
    last: bool,
}

/// The chunks of a call, with the states between them.
struct Chunked<'a, T> {
    scan: Scan<T>,
    chunks: &'a [Chunk],
    /// Of each chunk `[2, d_state, channels]`: in the end the state before it; and the product of its decays.
    states: *mut f32,
}

impl<T: Element> Scan<T> {
    /// Each sequence in chunks of `length` tokens.
    pub(super) fn chunked(
        &self,
        cpu: &Cpu,
        batch: &Batch,
        length: usize,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let Workspace { scan: scratch, chunks, states, .. } = workspace;
        chunks.clear();
        for (sequence, slot) in batch.slots().iter().enumerate() {
            let (start, end) = (batch.offsets()[sequence], batch.offsets()[sequence + 1]);
            for row in (start..end).step_by(length) {
                let rows = row..end.min(row.saturating_add(length));
                let (first, last) = (row == start, rows.end == end);
                chunks.push(Chunk { rows, slot: slot.index(), first, last });
            }
        }
        states.grow(OP, checked_product(OP, "a", &[2 * chunks.len(), self.size()])?)?;
        let chunked = Chunked { scan: *self, chunks, states: states.as_mut_slice().as_mut_ptr() };
        let scratch = scratch.as_mut_slice().as_mut_ptr();
        chunked.copy_states();
        chunked.run(cpu, scratch, |chunked, i| chunked.first_task(i));
        chunked.carry(cpu);
        chunked.run(cpu, scratch, |chunked, i| chunked.last_task(i));
        Ok(())
    }

    /// Numbers of a state.
    fn size(&self) -> usize {
        self.d_state * self.channels
    }
}

impl<T: Element> Chunked<'_, T> {
    /// The state before chunk `i`.
    fn before(&self, i: usize) -> *mut f32 {
        self.states.wrapping_add(2 * i * self.scan.size())
    }

    /// The state of a slot in the pool, if there is one.
    fn pool(&self, slot: usize) -> Option<*mut f32> {
        (!self.scan.state.is_null()).then(|| self.scan.state.wrapping_add(slot * self.scan.size()))
    }

    /// The first chunk of several works on a copy of the state: the slot is written at the end.
    fn copy_states(&self) {
        for (i, chunk) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.first && !chunk.last) {
            // SAFETY: the state of a slot and that of a chunk have `size` numbers each.
            unsafe {
                match chunk.slot.and_then(|slot| self.pool(slot)) {
                    Some(state) => std::ptr::copy_nonoverlapping(state, self.before(i), self.scan.size()),
                    None => std::ptr::write_bytes(self.before(i), 0, self.scan.size()),
                }
            }
        }
    }

    /// Pass 1.
    fn first_task(&self, i: usize) -> Option<Task> {
        let chunk = &self.chunks[i];
        let Some(slot) = chunk.slot else { return Some(Task::Padding) };
        let h = self.before(i);
        match (chunk.first, chunk.last) {
            (true, true) => Some(self.scan.scan_from(slot)),
            (true, false) => Some(Task::From(h)),
            (false, false) => Some(Task::Local { h, decay: h.wrapping_add(self.scan.size()) }),
            (false, true) => None,
        }
    }

    /// Pass 3.
    fn last_task(&self, i: usize) -> Option<Task> {
        let chunk = &self.chunks[i];
        let slot = chunk.slot.filter(|_| !chunk.first)?;
        Some(Task::From(if chunk.last { self.pool(slot).unwrap_or(self.before(i)) } else { self.before(i) }))
    }

    /// Runs the task of each chunk that has one.
    fn run(&self, cpu: &Cpu, scratch: *mut f32, task: fn(&Self, usize) -> Option<Task>) {
        let lanes = cpu.isa.tile().lanes;
        let tiles = self.scan.tiles(lanes);
        let tokens = self.chunks.last().map_or(0, |chunk| chunk.rows.end);
        let wanted = tokens.saturating_mul(self.scan.size()).div_ceil(STEPS_PER_PART).min(2 * cpu.threads());
        let parts = wanted.div_ceil(self.chunks.len().max(1)).min(tiles); // of each chunk
        let scratch_size = Scratch::size(&self.scan, lanes);
        let shared = Shared::new((self, scratch));
        cpu.threads.for_each(self.chunks.len() * parts, |worker, index| {
            let (i, index) = (index / parts, index % parts);
            let (chunked, scratch) = shared.get();
            let Some(task) = task(chunked, i) else { return };
            let kernel = ScanPart {
                scan: chunked.scan,
                rows: chunked.chunks[i].rows.clone(),
                task,
                tiles: part(tiles, 1, parts, index),
                scratch: scratch.wrapping_add(worker * scratch_size),
            };
            // SAFETY: the arguments are validated; tasks differ in their rows and states, or in their channels; a
            // worker runs one task at a time, and its scratch has the size that the kernel needs.
            unsafe { T::selective_scan(cpu.isa, kernel) }
        });
    }

    /// Pass 2.
    fn carry(&self, cpu: &Cpu) {
        let (size, lanes) = (self.scan.size(), cpu.isa.tile().lanes);
        let mut start = 0;
        for (i, last) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.last) {
            let several = start..i + 1;
            start = i + 1;
            let Some(slot) = last.slot.filter(|_| several.len() > 1) else { continue };
            let target = self.pool(slot).unwrap_or(self.before(i));
            let shared = Shared::new((self.before(several.start), target));
            let parts = (size * several.len()).div_ceil(STEPS_PER_PART).min(cpu.threads());
            cpu.threads.for_each(parts, |_, index| {
                let (states, target) = shared.get();
                let numbers = part(size, lanes, parts, index);
                let kernel = Carry { states, chunks: several.len(), size, target, numbers };
                // SAFETY: these chunks have their two states each, and the last one its target; parts do not overlap.
                unsafe { cpu.isa.run(kernel) }
            });
        }
    }
}

/// Pass 2 of one sequence: some numbers of the states.
struct Carry {
    /// Of each chunk, the state and the product of decays. Those of the first hold the state after it.
    states: *mut f32,
    chunks: usize,
    size: usize,
    /// The state before the last chunk.
    target: *mut f32,
    numbers: Range<usize>,
}

impl Kernel for Carry {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for i in self.numbers.clone().step_by(S::LANES) {
            let count = S::LANES.min(self.numbers.end - i);
            // SAFETY: the caller vouches for the states and the target.
            unsafe {
                let mut h = load::<S, f32>(self.states.add(i), count);
                for chunk in 1..self.chunks - 1 {
                    let state = self.states.add(2 * chunk * self.size + i);
                    let q = load::<S, f32>(state, count);
                    let p = load::<S, f32>(state.add(self.size), count);
                    store::<S, f32>(state, h, count);
                    h = S::fma(p, h, q);
                }
                store::<S, f32>(self.target.add(i), h, count);
            }
        }
    }
}
