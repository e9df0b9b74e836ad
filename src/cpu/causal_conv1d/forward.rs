//! The depthwise causal convolution, channels in lanes, with SiLU fused and the state updated in place.
//!
//! ```text
//! output[t, c] = activation(bias[c] + Σ_j weight[j, c] · input[t - d_conv + 1 + j, c]), oldest tap first
//! ```
//!
//! What the fast version does differently, and why the bits stay the same:
//! 1. A vector holds neighbouring channels; each lane is one channel.
//! 2. Taps before the start of the sequence are read from the state, which holds the inputs as they were.
//! 3. Several vectors of channels, of two rows if there are registers for it, are computed together, so their dependency
//!    chains overlap and taps are loaded once. The next rows are prefetched meanwhile.
//! 4. A large output, which no cache would keep, is written with non-temporal stores: its lines need not be read first.
//! 5. Threads take ranges of rows, over the sequences, or of channels if there are few rows: outputs are independent.

use super::kernel::{Conv, ConvJob, conv};
use crate::arrays::{DType, Element, Result};
use crate::cpu::machine::caches::Caches;
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::machine::split::{RaggedSplit, Split, sequence_at};
use crate::cpu::machine::threads::Shared;
use crate::cpu::simd::dispatch::lanes;
use crate::ops::CausalConv1d;
use std::ops::Range;
use std::ptr::NonNull;

/// Outputs of at least this part of the L3 cache are written with non-temporal stores: as much again is read, and what
/// the next op reads beside it would leave less than half of the output there.
const NONTEMPORAL: usize = 4;

/// Fewest rows that are worth a task of their own: each task reads the rows before its own again.
const ROWS_PER_TASK: usize = 16;

/// Fewest elements that are worth a task of their own.
const ELEMENTS_PER_TASK: usize = 1 << 14;

/// The bytes of an output that is written with non-temporal stores: never one that fits in the L2 cache.
fn nontemporal_bytes(caches: Caches) -> usize {
    (caches.l3_of_this_process() / NONTEMPORAL).max(caches.l2)
}

pub(in crate::cpu) fn causal_conv1d<T: Element>(cpu: &Cpu, args: CausalConv1d<'_, Cpu, T>) -> Result<()> {
    let shape = args.validate()?;
    let lanes = lanes(cpu.isa);
    let bytes = shape.tokens.saturating_mul(shape.channels).saturating_mul(size_of::<T>());
    // only f32 has non-temporal stores of whole vectors; all rows must start at the same place in a vector
    let nontemporal = T::DTYPE == DType::F32
        && bytes >= nontemporal_bytes(cpu.caches)
        && args.output.stride().is_multiple_of(lanes);
    let shared = Shared::new(Conv {
        channels: shape.channels,
        d_conv: shape.d_conv,
        activation: args.activation,
        dtype: T::DTYPE,
        input: RowPtr::of(&args.input),
        weight: args.weight.as_ptr(),
        bias: args.bias.map(|bias| NonNull::from(bias).cast()),
        state: args.state.map(|state| NonNull::from(state).cast()),
        output: RowPtr::of_mut(args.output),
        nontemporal,
    });
    let (batch, channels, offsets) = (args.batch, shape.channels, args.batch.offsets());
    let whole = |sequence: usize| offsets[sequence]..offsets[sequence + 1];
    let conv_kernel = conv(cpu.isa);
    let run = |sequence: usize, rows: Range<usize>, channels: Range<usize>, update: bool| {
        let conv = shared.get();
        match batch.slots()[sequence].index() {
            Some(slot) => {
                let job = ConvJob { conv, sequence: whole(sequence), rows, slot, channels, update };
                // SAFETY: `validate` checked the arrays against the shape and the batch (1, 2), and the types are
                // those of the arguments. Tasks differ in their rows and slot, or in their channels, and a state is
                // written by a task that has its sequence to itself (3).
                unsafe { conv_kernel(&job) }
            }
            // SAFETY: the same, for the outputs of padding.
            None => unsafe { conv.output.clear::<T>(rows, channels) },
        }
    };
    let (work, most) = (shape.tokens * channels, cpu.threads.most_tasks());
    let rows = Split::new(work, ELEMENTS_PER_TASK, most, shape.tokens, 1);
    if rows.tasks() * ROWS_PER_TASK > shape.tokens {
        // channels of whole sequences; a task updates the state of its own
        let split = RaggedSplit::new(offsets, channels.div_ceil(lanes), work, ELEMENTS_PER_TASK, most);
        cpu.threads.for_each(split.tasks(), |_, index| {
            for (sequence, vectors) in split.pieces(index) {
                let range = vectors.start * lanes..channels.min(vectors.end * lanes);
                run(sequence, whole(sequence), range, true);
            }
        });
        return Ok(());
    }
    cpu.threads.for_each(rows.tasks(), |_, index| {
        let task = rows.task(index);
        for sequence in sequence_at(offsets, task.start)..batch.len() {
            let whole = whole(sequence);
            if whole.start >= task.end {
                break;
            }
            let part = whole.start.max(task.start)..whole.end.min(task.end);
            let update = part == whole;
            run(sequence, part, 0..channels, update);
        }
    });
    // the state of a sequence that several tasks share is updated after all of them have read it
    let mut updated = None;
    for start in (1..rows.tasks()).map(|index| rows.task(index).start) {
        let sequence = sequence_at(offsets, start);
        if offsets[sequence] < start && updated != Some(sequence) && shared.get().state.is_some() {
            let end = whole(sequence).end;
            run(sequence, end..end, 0..channels, true);
            updated = Some(sequence);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::{Batch, Rows};
    use crate::backend::Backend;
    use crate::cpu::machine::isa::Isa;
    use crate::ops::Activation;

    /// Caches of no and of unlimited size: all outputs are stored past the caches, or none.
    #[test]
    fn bits_do_not_depend_on_the_caches() {
        let (tokens, stride) = (75, 112);
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5;
        let [input, weight] =
            [tokens * stride, 4 * stride].map(|len| (0..len).map(number).collect::<Vec<_>>());
        for isa in Isa::available() {
            let mut cpu = Cpu::builder().isa(isa).threads(2).build().unwrap();
            // rows that start at a vector, and inside of one
            for (offset, channels) in [(0, stride), (3, 101)] {
                let run = |cpu: &Cpu| -> Vec<u32> {
                    let mut output = vec![7.0f32; tokens * stride];
                    let args = CausalConv1d::<Cpu, f32> {
                        input: Rows::strided(&input[..], offset, tokens, channels, stride).unwrap(),
                        weight: &weight[..4 * channels],
                        bias: None,
                        activation: Activation::Silu,
                        batch: &Batch::single(tokens),
                        state: None,
                        output: Rows::strided(&mut output[..], offset, tokens, channels, stride).unwrap(),
                    };
                    cpu.causal_conv1d(args, &mut Default::default()).unwrap();
                    output.into_iter().map(f32::to_bits).collect()
                };
                cpu.caches = Caches { l2: usize::MAX, ..cpu.caches };
                let expected = run(&cpu);
                for (l3, l3_cpus) in [(0, 1), (usize::MAX, 1), (1000, 0), (4000, 4096)] {
                    for l2 in [0, usize::MAX] {
                        cpu.caches = Caches { l2, l3, l3_cpus, ..cpu.caches };
                        assert!(run(&cpu) == expected, "{isa}, L2 {l2}, L3 {l3} of {l3_cpus}");
                    }
                }
            }
        }
    }

    #[test]
    fn outputs_past_the_caches_are_a_part_of_the_l3() {
        let caches = Caches { l2: 1 << 20, l3: 32 << 20, l3_cpus: 1, ..Caches::of_this_machine() };
        assert_eq!(nontemporal_bytes(caches), 8 << 20);
        assert_eq!(nontemporal_bytes(Caches { l3: 0, ..caches }), 1 << 20);
    }
}
