//! `selective_scan`: the launches of the exact form, and of the one that is parallel over time.
#![forbid(unsafe_code)]

use crate::arrays::{Element, Error, Result, checked_product};
use crate::cuda::args::{CHUNK_CUT, MOST_X, MOST_Y, ScanArgs, WHOLE, extent, size, small, type_number};
use crate::cuda::builder::Cuda;
use crate::cuda::driver::interface::Launch;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::SelectiveScan;

/// The most states per channel.
const MOST_STATES: usize = 256;

/// Channels of a block.
const CHANNELS: usize = 16;

/// Threads of a block that scans.
const THREADS: u32 = 64;

/// Threads of a block that combines chunks, a channel each.
const COMBINE_THREADS: usize = 128;

pub(in crate::cuda) fn selective_scan<T: Element>(
    cuda: &Cuda,
    args: SelectiveScan<'_, Cuda, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "selective_scan";
    let shape = args.validate()?;
    let device = &cuda.device;
    let (channels, d_state, n_groups) = (shape.channels, shape.d_state, shape.n_groups);
    if d_state > MOST_STATES {
        let expected = format_args!("d_state of at most {MOST_STATES}").to_string();
        return Err(Error::argument(OP, "a", expected, d_state));
    }
    let state = device.optional(OP, "state", args.state.as_ref())?;
    let z = args.z.as_ref().map(|z| device.rows(OP, "z", z)).transpose()?;
    let mut scan = ScanArgs {
        u: device.rows(OP, "u", &args.u)?,
        delta: device.rows(OP, "delta", &args.delta)?,
        b: device.rows(OP, "b", &args.b)?,
        c: device.rows(OP, "c", &args.c)?,
        z: z.unwrap_or(0),
        a: device.address(OP, "a", &args.a)?,
        d: device.optional(OP, "d", args.d.as_ref())?,
        delta_bias: device.optional(OP, "delta_bias", args.delta_bias.as_ref())?,
        state_in: state,
        state_out: state,
        chunk_state: 0,
        chunk_delta: 0,
        output: device.rows(OP, "output", &args.output)?,
        spans: 0,
        u_stride: size(args.u.stride()),
        delta_stride: size(args.delta.stride()),
        b_stride: size(args.b.stride()),
        c_stride: size(args.c.stride()),
        z_stride: args.z.as_ref().map_or(0, |z| size(z.stride())),
        output_stride: size(args.output.stride()),
        channels: size(channels),
        span_count: 0,
        d_state: d_state as u32,
        n_groups: small(OP, "n_groups", n_groups)?,
        delta_softplus: u32::from(args.delta_softplus),
        type_: type_number(OP, "u", T::DTYPE)?,
        chunked: 0,
        reserved: 0,
    };
    if shape.tokens == 0 {
        return Ok(());
    }
    let y = extent(OP, "u", n_groups * (channels / n_groups).div_ceil(CHANNELS), MOST_Y)?;
    let (exact, chunk, chunk_states) = match d_state {
        0..=16 => ("mk_scan_exact_4", "mk_scan_chunk_4", 16),
        17..=64 => ("mk_scan_exact_16", "mk_scan_chunk_16", 64),
        _ => ("mk_scan_exact_64", "mk_scan_chunk_16", 64),
    };
    let launch = |kernel, grid, threads, args: &ScanArgs, workspace: &mut Workspace| {
        let (block, args) = ([threads, 1, 1], bytemuck::bytes_of(args));
        workspace.launch(device, OP, &Launch { kernel, grid, block, shared_bytes: 0, args })
    };

    let chunks = match cuda.parallel_scan {
        true => Some(workspace.spans(device, OP, args.batch, CHUNK_CUT)?).filter(|spans| spans.several),
        false => None,
    };
    let Some(chunks) = chunks else {
        let spans = workspace.spans(device, OP, args.batch, WHOLE)?;
        (scan.spans, scan.span_count) = (spans.address, size(spans.count));
        let x = extent(OP, "batch", spans.count, MOST_X)?;
        return launch(exact, [x, y, 1], THREADS, &scan, workspace);
    };
    let x = extent(OP, "batch", chunks.count, MOST_X)?;
    let states = checked_product(OP, "u", &[chunks.count, d_state, channels])?;
    let elements = checked_product(OP, "u", &[chunks.count, d_state + 1, channels])?;
    let scratch = workspace.scratch(device, OP, elements)?;
    (scan.spans, scan.span_count) = (chunks.address, size(chunks.count));
    (scan.chunk_state, scan.chunk_delta) = (scratch, scratch + (states * size_of::<f32>()) as u64);
    let combine = [x, extent(OP, "u", channels.div_ceil(COMBINE_THREADS), MOST_Y)?, d_state as u32];
    launch(chunk, [x, y, d_state.div_ceil(chunk_states) as u32], THREADS, &scan, workspace)?;
    launch("mk_scan_combine", combine, COMBINE_THREADS as u32, &scan, workspace)?;
    scan.chunked = 1;
    launch(exact, [x, y, 1], THREADS, &scan, workspace)
}
