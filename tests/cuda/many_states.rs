//! Scans of more states per channel than the suite of all backends draws: other kernels, and a limit.

use crate::support::backends;
use mamba_kernels::cpu::ScanOrder;
use mamba_kernels::ops::SelectiveScan;
use mamba_kernels::{Backend, Batch, Cpu, Error, Result, Rows, Slot};
use std::num::NonZeroUsize;

const GROUPS: usize = 2;
const CHANNELS: usize = 2 * 9;

/// Numbers in -1..1 that are the same everywhere.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The bits of the outputs and of the states of three sequences, of which the last is padding.
fn scan<B: Backend>(backend: &B, d_state: usize, lengths: [usize; 2]) -> Result<[Vec<u32>; 2]> {
    let [first, second] = lengths;
    let tokens = first + second + 2;
    let slots = [Slot::new(2), Slot::new(0), Slot::PADDING];
    let batch = Batch::new(&[0, first, first + second, tokens], &slots)?;
    let upload = |count, seed| backend.upload(&numbers(count, seed));
    let (u, delta, z) =
        (upload(tokens * CHANNELS, 1)?, upload(tokens * CHANNELS, 2)?, upload(tokens * CHANNELS, 3)?);
    let bc = upload(tokens * 2 * GROUPS * d_state, 4)?;
    let a: Vec<f32> = numbers(d_state * CHANNELS, 5).iter().map(|x| -4.0 * (x + 1.0)).collect();
    let (a, d) = (backend.upload(&a)?, upload(CHANNELS, 6)?);
    let mut state = upload(3 * d_state * CHANNELS, 7)?;
    let mut output = backend.zeros::<f32>(tokens * CHANNELS)?;
    let bc = Rows::new(backend.view(&bc), tokens, 2 * GROUPS * d_state)?;
    let args = SelectiveScan::<B, f32> {
        u: Rows::new(backend.view(&u), tokens, CHANNELS)?,
        delta: Rows::new(backend.view(&delta), tokens, CHANNELS)?,
        a: backend.view(&a),
        b: bc.columns(0..GROUPS * d_state)?,
        c: bc.columns(GROUPS * d_state..2 * GROUPS * d_state)?,
        n_groups: GROUPS,
        d: Some(backend.view(&d)),
        z: Some(Rows::new(backend.view(&z), tokens, CHANNELS)?),
        delta_bias: None,
        delta_softplus: true,
        batch: &batch,
        state: Some(backend.view_mut(&mut state)),
        output: Rows::new(backend.view_mut(&mut output), tokens, CHANNELS)?,
    };
    backend.selective_scan(args, &mut Default::default())?;
    let bits = |buffer: &B::Buffer<f32>, count| {
        let mut host = vec![0.0; count];
        backend.read(backend.view(buffer), &mut host)?;
        Ok::<_, Error>(host.into_iter().map(f32::to_bits).collect())
    };
    Ok([bits(&output, tokens * CHANNELS)?, bits(&state, 3 * d_state * CHANNELS)?])
}

#[test]
fn many_states_give_the_bits_of_the_cpu() {
    for cuda in backends(|builder| builder) {
        for d_state in [64, 65, 130, 256] {
            let expected = scan(&Cpu::new(), d_state, [1, 21]).unwrap();
            assert!(scan(&cuda, d_state, [1, 21]).unwrap() == expected, "{d_state} states");
        }
        match scan(&cuda, 257, [1, 1]) {
            Err(Error::Argument { op: "selective_scan", argument: "a", .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn many_states_in_chunks_give_the_bits_of_the_cpu() {
    let order = ScanOrder::Chunked { tokens: NonZeroUsize::new(128).unwrap() };
    let cpu = Cpu::builder().scan_order(order).build().unwrap();
    for cuda in backends(|builder| builder.parallel_scan()) {
        for d_state in [20, 65, 256] {
            let expected = scan(&cpu, d_state, [5, 270]).unwrap();
            assert!(scan(&cuda, d_state, [5, 270]).unwrap() == expected, "{d_state} states");
        }
    }
}
