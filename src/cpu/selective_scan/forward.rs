//! The selective scan, channels in lanes, everything around it fused.
//!
//! ```text
//! delta = softplus(delta + bias); du = delta · u, 0 below 2^-100
//! h[n] = exp2(delta · (a[n] · log2 e)) · h[n] + du · b[n]; 0 if both du and it are below 2^-100
//! y = Σ_n c[n] · h[n] in four partial sums; y = fma(u, d, y); output = y · silu(z)
//! ```
//!
//! What the fast version does differently, and why the bits stay the same:
//! 1. A vector holds neighbouring channels; each lane is one channel, and time ascends in it.
//! 2. Time is cut into blocks. Within a block, three passes: `delta` and `delta · u`; the recurrence, for a group of
//!    states whose `h` stay in registers; `d`, the gate and the store. Intermediate values are in f32.
//! 3. A group has a multiple of four states, so the partial sum `n mod 4` of a state is the same in every group; the
//!    sums of a group continue those of the one before.
//! 4. A block whose numbers are ordinary, which one comparison tells, needs no clamp of a decay and no look at a state.
//! 5. Threads take sequences, and ranges of channels of long ones: channels are independent. Nothing of size tokens x
//!    channels x states is ever stored.

use super::arrays::{Scan, Scratch, UPDATES_PER_TASK};
use super::chunked::chunked;
use super::kernels::{ScanJob, Start, scan};
use crate::arrays::{Batch, Element, Result};
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::machine::split::RaggedSplit;
use crate::cpu::machine::threads::Shared;
use crate::cpu::machine::workspace::Workspace;
use crate::cpu::simd::dispatch::lanes;
use crate::ops::{ScanOrder, SelectiveScan};
use std::ptr::NonNull;

pub(in crate::cpu) fn selective_scan<T: Element>(
    cpu: &Cpu,
    args: SelectiveScan<'_, Cpu, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    let shape = args.validate()?;
    let arrays = Scan {
        channels: shape.channels,
        d_state: shape.d_state,
        n_groups: shape.n_groups,
        dtype: T::DTYPE,
        u: RowPtr::of(&args.u),
        delta: RowPtr::of(&args.delta),
        b: RowPtr::of(&args.b),
        c: RowPtr::of(&args.c),
        z: args.z.as_ref().map(RowPtr::of),
        a: args.a.as_ptr(),
        d: args.d.map(|d| NonNull::from(d).cast()),
        delta_bias: args.delta_bias.map(|bias| NonNull::from(bias).cast()),
        delta_softplus: args.delta_softplus,
        state: args.state.map(|state| NonNull::from(state).cast()),
        output: RowPtr::of_mut(args.output),
    };
    // SAFETY: `validate` checked the arrays against the shape and the batch (1), which are borrowed as they are used (2).
    unsafe {
        match cpu.scan_order {
            ScanOrder::Sequential => sequential(cpu, &arrays, args.batch, workspace),
            ScanOrder::Chunked { tokens } => chunked(cpu, &arrays, args.batch, tokens.get(), workspace),
        }
    }
}

/// Each sequence from its first token to its last.
///
/// # Safety
/// 1. The arrays have the shapes that the contract states for this batch.
/// 2. Nobody else accesses the output and the state meanwhile.
unsafe fn sequential(cpu: &Cpu, arrays: &Scan, batch: &Batch, workspace: &mut Workspace) -> Result<()> {
    let lanes = lanes(cpu.isa);
    let (offsets, strips) = (batch.offsets(), arrays.strips(lanes));
    let steps = batch.tokens().saturating_mul(arrays.state_size());
    let split = RaggedSplit::new(offsets, strips, steps, UPDATES_PER_TASK, cpu.threads.most_tasks());
    // states are in the pool, if there is one
    let states = if arrays.state.is_some() { 0 } else { arrays.state_size() };
    let size = Scratch::size(arrays, lanes, states);
    let scratch = Scratch::of_workers(cpu, &mut workspace.scan, size, split.tasks())?;
    let shared = Shared::new((*arrays, scratch));
    let scan = scan(cpu.isa);
    cpu.threads.for_each(split.tasks(), |worker, index| {
        let (arrays, scratch) = shared.get();
        for (sequence, strips) in split.pieces(index) {
            let rows = offsets[sequence]..offsets[sequence + 1];
            // SAFETY: pieces differ in their rows and slot, or in their channels; a worker runs one task at a time.
            unsafe {
                match batch.slots()[sequence].index() {
                    None => arrays.clear_outputs(rows, strips, lanes),
                    Some(slot) => scan(&ScanJob {
                        scan: arrays,
                        rows,
                        strips,
                        start: arrays.slot(slot).map_or(Start::Zeros, Start::State),
                        scratch: scratch.wrapping_add(worker * size),
                    }),
                }
            }
        }
    });
    Ok(())
}
