//! The scan that is parallel over time: [`ScanOrder::Chunked`](crate::ops::ScanOrder::Chunked).
//!
//! ```text
//! 1. of each chunk but the first and the last: x = Σ delta · (a · log2 e), q = its last state from zeros
//! 2. the state before each chunk, in order: h[i + 1] = fma(p[i], h[i], q[i]), p = exp2(x)
//! 3. each chunk but the first from the state before it, as in the sequential scan
//! ```
//!
//! A chunk is the affine map `h -> p h + q`. Maps compose, `(p2, q2) after (p1, q1) = (p2 p1, p2 q1 + q2)`; applied
//! to a state one after the other they need no products of `p`. Where `a` is positive, or delta negative, `p` may overflow
//! though `p h` does not, as where `h` is 0: beyond 2^128 it is three factors, whose product is more than any `h` but 0
//! can be multiplied by. The first chunk starts from the state of the sequence, so pass 1 scans it with its outputs.
//! Passes 1 and 3 are parallel over chunks, all three over channels.

use super::arrays::{OP, Scan, Scratch, UPDATES_PER_TASK};
use super::kernels::{ChunkJob, ScanJob, Start, scan, scan_chunk};
use crate::arrays::{Batch, Result, checked_product};
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::split::{RaggedSplit, Split};
use crate::cpu::machine::threads::Shared;
use crate::cpu::machine::workspace::{Chunk, Workspace};
use crate::cpu::math;
use crate::cpu::simd::dispatch::{kernel, lanes};
use crate::cpu::simd::{Simd, load, store};
use std::ops::Range;

/// The chunks of a call, with the states between them.
struct Chunked<'a> {
    scan: Scan,
    chunks: &'a [Chunk],
    /// The first row of each chunk, and the end of the last.
    offsets: &'a [usize],
    /// Of each chunk `[2, d_state, channels]`: in the end the state before it, and the logarithm of its decays' product.
    states: *mut f32,
    /// A [`Scratch`] per worker, of this size.
    scratch: *mut f32,
    scratch_size: usize,
}

/// What pass 1 or pass 3 does with a chunk.
enum Work {
    /// Outputs of zero.
    Padding,
    /// The scan with outputs.
    Scan(Start),
    /// Where its states end that start as zeros, and the logarithm of its decays' product.
    Map { end: *mut f32, exponent: *mut f32 },
}

/// Each sequence in chunks of `length` tokens.
///
/// # Safety
/// 1. The arrays have the shapes that the contract states for this batch.
/// 2. Nobody else accesses the output and the state meanwhile.
pub(super) unsafe fn chunked(
    cpu: &Cpu,
    arrays: &Scan,
    batch: &Batch,
    length: usize,
    workspace: &mut Workspace,
) -> Result<()> {
    let Workspace { scan: scratch, chunks, chunk_offsets: offsets, chunk_states: states, .. } = workspace;
    chunks.clear();
    offsets.clear();
    for (sequence, slot) in batch.slots().iter().enumerate() {
        let (start, end) = (batch.offsets()[sequence], batch.offsets()[sequence + 1]);
        for row in (start..end).step_by(length) {
            let rows = row..end.min(row.saturating_add(length));
            let (first, last) = (row == start, rows.end == end);
            offsets.push(row);
            chunks.push(Chunk { rows, slot: slot.index(), first, last });
        }
    }
    offsets.push(batch.tokens());
    states.ensure(OP, checked_product(OP, "a", &[2 * chunks.len(), arrays.state_size()])?)?;
    // a chunk's sum of delta, or the states of a sequence if there is no pool
    let own = if arrays.state.is_some() { arrays.channels } else { arrays.state_size().max(arrays.channels) };
    let scratch_size = Scratch::size(arrays, lanes(cpu.isa), own);
    let scratch =
        Scratch::of_workers(cpu, scratch, scratch_size, Chunked::split(cpu, arrays, offsets).tasks())?;
    let states = states.as_mut_slice().as_mut_ptr();
    let chunked = Chunked { scan: *arrays, chunks, offsets, states, scratch, scratch_size };
    // SAFETY: the conditions are the same; there are two states per chunk.
    unsafe {
        chunked.copy_states();
        chunked.run(cpu, Chunked::first_work);
        chunked.carry(cpu);
        chunked.run(cpu, Chunked::last_work);
    }
    Ok(())
}

impl Chunked<'_> {
    /// The tasks of passes 1 and 3.
    fn split<'a>(cpu: &Cpu, scan: &Scan, offsets: &'a [usize]) -> RaggedSplit<'a> {
        let steps = offsets.last().map_or(0, |tokens| tokens.saturating_mul(scan.state_size()));
        RaggedSplit::new(
            offsets,
            scan.strips(lanes(cpu.isa)),
            steps,
            UPDATES_PER_TASK,
            cpu.threads.most_tasks(),
        )
    }

    /// The state before chunk `i`.
    fn before(&self, i: usize) -> *mut f32 {
        self.states.wrapping_add(2 * i * self.scan.state_size())
    }

    /// The first chunk of several works on a copy of the state: the slot is written at the end.
    ///
    /// # Safety
    /// The conditions of [`chunked`], and `states` has two states per chunk, which nobody else accesses.
    unsafe fn copy_states(&self) {
        let size = self.scan.state_size();
        for (i, chunk) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.first && !chunk.last) {
            // SAFETY: the state of a slot and that before a chunk have `size` numbers each.
            unsafe {
                match chunk.slot.and_then(|slot| self.scan.slot(slot)) {
                    Some(state) => std::ptr::copy_nonoverlapping(state, self.before(i), size),
                    None => std::ptr::write_bytes(self.before(i), 0, size),
                }
            }
        }
    }

    /// Pass 1.
    fn first_work(&self, i: usize) -> Option<Work> {
        let chunk = &self.chunks[i];
        let Some(slot) = chunk.slot else { return Some(Work::Padding) };
        let before = self.before(i);
        match (chunk.first, chunk.last) {
            (true, true) => Some(Work::Scan(self.scan.slot(slot).map_or(Start::Zeros, Start::State))),
            (true, false) => Some(Work::Scan(Start::State(before))),
            (false, false) => {
                Some(Work::Map { end: before, exponent: before.wrapping_add(self.scan.state_size()) })
            }
            (false, true) => None,
        }
    }

    /// Pass 3.
    fn last_work(&self, i: usize) -> Option<Work> {
        let chunk = &self.chunks[i];
        let slot = chunk.slot.filter(|_| !chunk.first)?;
        let target = if chunk.last { self.scan.slot(slot) } else { None };
        Some(Work::Scan(Start::State(target.unwrap_or(self.before(i)))))
    }

    /// Does the work of each chunk that has some.
    ///
    /// # Safety
    /// As for [`Chunked::copy_states`].
    unsafe fn run(&self, cpu: &Cpu, work: fn(&Self, usize) -> Option<Work>) {
        let lanes = lanes(cpu.isa);
        let split = Self::split(cpu, &self.scan, self.offsets);
        let shared = Shared::new(self);
        let (scan_kernel, chunk_kernel) = (scan(cpu.isa), scan_chunk(cpu.isa));
        cpu.threads.for_each(split.tasks(), |worker, index| {
            let chunked = shared.get();
            let scratch = chunked.scratch.wrapping_add(worker * chunked.scratch_size);
            for (i, strips) in split.pieces(index) {
                let Some(work) = work(chunked, i) else { continue };
                let (scan, rows) = (chunked.scan, chunked.chunks[i].rows.clone());
                // SAFETY: the arrays are those of the call; pieces differ in their rows and states, or in their
                // channels; a worker runs one task at a time.
                unsafe {
                    match work {
                        Work::Padding => scan.clear_outputs(rows, strips, lanes),
                        Work::Scan(start) => scan_kernel(&ScanJob { scan, rows, strips, start, scratch }),
                        Work::Map { end, exponent } => {
                            chunk_kernel(&ChunkJob { scan, rows, strips, end, exponent, scratch });
                        }
                    }
                }
            }
        });
    }

    /// Pass 2.
    ///
    /// # Safety
    /// As for [`Chunked::copy_states`].
    unsafe fn carry(&self, cpu: &Cpu) {
        let (size, lanes) = (self.scan.state_size(), lanes(cpu.isa));
        let carry = carry(cpu.isa);
        let mut start = 0;
        for (i, last) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.last) {
            let several = start..i + 1;
            start = i + 1;
            let Some(slot) = last.slot.filter(|_| several.len() > 1) else { continue };
            let target = self.scan.slot(slot).unwrap_or(self.before(i));
            let shared = Shared::new((self.before(several.start), target));
            let work = size * several.len();
            let split = Split::new(work, UPDATES_PER_TASK, cpu.threads.team(), size, lanes);
            cpu.threads.for_each(split.tasks(), |_, index| {
                let (states, target) = shared.get();
                let numbers = split.task(index);
                let job = CarryJob { states, chunks: several.len(), size, target, numbers };
                // SAFETY: these chunks have two states each, and the last one its target; tasks have numbers of their
                // own.
                unsafe { carry(&job) }
            });
        }
    }
}

/// The largest exponent below 128: its power of two is finite.
const LARGEST: f32 = f32::from_bits(0x42ff_ffff);

/// Pass 2 of one sequence: some numbers of the states.
struct CarryJob {
    /// Of each chunk, the state and the logarithm of the decays' product. Those of the first hold the state after it.
    states: *mut f32,
    chunks: usize,
    size: usize,
    /// The state before the last chunk.
    target: *mut f32,
    numbers: Range<usize>,
}

kernel! {
    /// Carries the state from chunk to chunk.
    fn carry(CarryJob) = carry_body;
}

/// # Safety
/// 1. `states` points to two states of `size` numbers per chunk, `target` to one; the numbers are within `0..size`.
/// 2. Nobody else accesses these numbers of them meanwhile.
/// 3. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn carry_body<S: Simd>(job: &CarryJob) {
    debug_assert!(job.numbers.end <= job.size && job.chunks > 1);
    for i in job.numbers.clone().step_by(S::LANES) {
        let count = S::LANES.min(job.numbers.end - i);
        // SAFETY: `count` numbers from `i` on are in every state (1).
        unsafe {
            let mut h = load::<S, f32>(job.states.add(i), count);
            for chunk in 1..job.chunks - 1 {
                let state = job.states.add(2 * chunk * job.size + i);
                let q = load::<S, f32>(state, count);
                let x = load::<S, f32>(state.add(job.size), count);
                store::<S, f32>(state, h, count);
                // of an ordinary chunk the second and the third are 1
                let largest = S::splat(LARGEST);
                let second = S::max(S::sub(x, largest), S::splat(0.0));
                let third = S::max(S::sub(second, largest), S::splat(0.0));
                let factors = [S::min(largest, x), S::min(largest, second), S::min(largest, third)];
                let [first, second, third] = math::exp2::<S, 3>(factors);
                h = S::fma(first, S::mul(S::mul(h, second), third), q);
            }
            store::<S, f32>(job.target.add(i), h, count);
        }
    }
}
