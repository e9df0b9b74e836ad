//! The memory traffic of the kernels, counted by the executor: sectors of 32 bytes against the fewest possible, and
//! bank conflicts in shared memory.
//!
//! The fewest are those of a kernel whose blocks read each of their inputs once, neighbours' rows and parameters
//! included, and write each output once, all of it packed.

use crate::arrays::{Batch, Element, Result, Rows};
use crate::backend::Backend;
use crate::cuda::driver::executor::device::{Check, Executor, LaunchCounters};
use crate::cuda::driver::executor::host::Totals;
use crate::cuda::memory::device::Device;
use crate::cuda::{Buffer, Cuda};
use crate::ops::{Activation, CausalConv1d, Embedding, Epilogue, InProj, Linear, RmsNorm, SelectiveScan};
use half::{bf16, f16};

const SECTOR: usize = 32;

/// A backend whose accesses are counted.
struct Counted {
    cuda: Cuda,
    executor: Executor,
}

impl Counted {
    fn new(inexact: bool) -> Self {
        let executor = Executor::new(Check::Checked).unwrap();
        let device = Device::new(Box::new(executor.clone()));
        let (tensor_cores, parallel_scan) = (inexact, inexact);
        let cuda = Cuda { device, name: "cuda-executor", tensor_cores, parallel_scan, linear_kernel: None };
        Self { cuda, executor }
    }

    /// Numbers of ordinary size.
    fn buffer<T: Element>(&self, len: usize) -> Buffer<T> {
        let host: Vec<T> = (0..len).map(|i| T::from_f32((i * 7 % 13) as f32 * 0.125 - 0.75)).collect();
        self.cuda.upload(&host).unwrap()
    }

    /// What the kernels of one op did, with their names.
    fn count(&self, op: impl FnOnce(&Cuda) -> Result<()>) -> Vec<LaunchCounters> {
        self.executor.take_counters();
        op(&self.cuda).unwrap();
        self.executor.take_counters()
    }
}

/// The sectors that arrays fill, packed.
fn sectors(bytes: &[usize]) -> usize {
    bytes.iter().map(|bytes| bytes.div_ceil(SECTOR)).sum()
}

/// Prints what a kernel touched, and checks it against the fewest sectors and a factor.
fn check(counters: &LaunchCounters, loads: usize, stores: usize, factor: f64, conflicts: u64) {
    let LaunchCounters { kernel, totals } = counters;
    let Totals { global_load_sectors, global_store_sectors, shared_accesses, bank_conflicts, .. } = *totals;
    let ratios = [global_load_sectors as f64 / loads as f64, global_store_sectors as f64 / stores as f64];
    println!(
        "{kernel}: loads {global_load_sectors} of {loads} ({:.3}), stores {global_store_sectors} of {stores} \
         ({:.3}), {bank_conflicts} conflicts in {shared_accesses} accesses of shared memory",
        ratios[0], ratios[1]
    );
    let touched = (global_load_sectors + global_store_sectors) as f64;
    assert!(touched <= factor * (loads + stores) as f64, "{kernel}: {touched} sectors");
    assert!(bank_conflicts <= conflicts, "{kernel}: {bank_conflicts} bank conflicts");
}

/// Two launches as one.
fn both(counters: &[LaunchCounters]) -> LaunchCounters {
    let [first, second] = counters else { panic!("{} launches", counters.len()) };
    let (a, b) = (first.totals, second.totals);
    let sum = Totals {
        global_load_sectors: a.global_load_sectors + b.global_load_sectors,
        global_store_sectors: a.global_store_sectors + b.global_store_sectors,
        shared_accesses: a.shared_accesses + b.shared_accesses,
        bank_conflicts: a.bank_conflicts + b.bank_conflicts,
        ..a
    };
    LaunchCounters { kernel: format!("{} and {}", first.kernel, second.kernel), totals: sum }
}

fn conv<T: Element>(d_conv: usize) {
    let (counted, tokens, channels) = (Counted::new(false), 320, 1024);
    let size = size_of::<T>();
    let (input, weight) = (counted.buffer::<T>(tokens * channels), counted.buffer::<f32>(d_conv * channels));
    let bias = counted.buffer::<f32>(channels);
    let (mut state, mut output) =
        (counted.buffer::<f32>((d_conv - 1) * channels), counted.buffer::<T>(tokens * channels));
    let totals = counted.count(|cuda| {
        let args = CausalConv1d::<Cuda, T> {
            input: Rows::new(cuda.view(&input), tokens, channels)?,
            weight: cuda.view(&weight),
            bias: Some(cuda.view(&bias)),
            activation: Activation::Silu,
            batch: &Batch::single(tokens),
            state: Some(cuda.view_mut(&mut state)),
            output: Rows::new(cuda.view_mut(&mut output), tokens, channels)?,
        };
        cuda.causal_conv1d(args, &mut Default::default())
    });
    // per span its rows, the rows before it (of the state, for the first), weight and bias
    let spans = tokens.div_ceil(crate::cuda::args::CONV_CUT);
    let parameters = spans * (d_conv + 1) * channels * 4;
    let before = ((spans - 1) * size + 4) * (d_conv - 1) * channels;
    let rows = tokens * channels * size;
    let state = (d_conv - 1) * channels; // the second launch moves it
    let loads = sectors(&[rows, before, parameters, state * size]);
    check(&both(&totals), loads, sectors(&[rows, state * 4]), 1.05, 0);
}

#[test]
fn causal_conv1d_reads_and_writes_once() {
    conv::<f32>(4);
    conv::<bf16>(4);
    conv::<f16>(3);
}

fn norm<T: Element, U: Element>(channels: usize) {
    let (counted, tokens) = (Counted::new(false), 5);
    let (input, weight) = (counted.buffer::<T>(tokens * channels), counted.buffer::<f32>(channels));
    let (mut residual, mut output) =
        (counted.buffer::<f32>(tokens * channels), counted.buffer::<U>(tokens * channels));
    let totals = counted.count(|cuda| {
        let args = RmsNorm::<Cuda, T, U> {
            input: Rows::new(cuda.view(&input), tokens, channels)?,
            residual: Some(Rows::new(cuda.view_mut(&mut residual), tokens, channels)?),
            weight: Some(cuda.view(&weight)),
            eps: 1e-5,
            output: Rows::new(cuda.view_mut(&mut output), tokens, channels)?,
        };
        cuda.rms_norm(args, &mut Default::default())
    });
    // a block is a row: input, residual and weight
    let loads = tokens * channels * (size_of::<T>() + 4 + 4);
    let stores = tokens * channels * (size_of::<U>() + 4);
    check(&totals[0], sectors(&[loads]), sectors(&[stores]), 1.05, 0);
}

#[test]
fn rms_norm_reads_and_writes_once() {
    norm::<f32, f32>(768);
    norm::<f32, bf16>(2560);
    norm::<bf16, f16>(2560);
}

fn scan<T: Element>(d_state: usize, tokens: usize, inexact: bool) {
    let (counted, channels) = (Counted::new(inexact), 64);
    let size = size_of::<T>();
    let wide = || counted.buffer::<T>(tokens * channels);
    let (u, delta, z) = (wide(), wide(), wide());
    let bc = counted.buffer::<T>(tokens * 2 * d_state);
    let a = counted.cuda.upload(&vec![-0.5f32; d_state * channels]).unwrap();
    let (d, bias) = (counted.buffer::<f32>(channels), counted.buffer::<f32>(channels));
    let (mut state, mut output) = (counted.buffer::<f32>(d_state * channels), wide());
    let totals = counted.count(|cuda| {
        let bc = Rows::new(cuda.view(&bc), tokens, 2 * d_state)?;
        let args = SelectiveScan::<Cuda, T> {
            u: Rows::new(cuda.view(&u), tokens, channels)?,
            delta: Rows::new(cuda.view(&delta), tokens, channels)?,
            a: cuda.view(&a),
            b: bc.columns(0..d_state)?,
            c: bc.columns(d_state..2 * d_state)?,
            n_groups: 1,
            d: Some(cuda.view(&d)),
            z: Some(Rows::new(cuda.view(&z), tokens, channels)?),
            delta_bias: Some(cuda.view(&bias)),
            delta_softplus: true,
            batch: &Batch::single(tokens),
            state: Some(cuda.view_mut(&mut state)),
            output: Rows::new(cuda.view_mut(&mut output), tokens, channels)?,
        };
        cuda.selective_scan(args, &mut Default::default())
    });
    let blocks = channels / 16;
    let rows = tokens * channels * size;
    let states = d_state * channels * 4;
    let parameters = blocks * tokens * 2 * d_state * size;
    if !inexact {
        let loads = sectors(&[3 * rows, parameters, 2 * states, 2 * channels * 4]);
        check(&totals[0], loads, sectors(&[rows, states]), 1.05, 0);
        return;
    }
    // the last of three launches reads the states at the start of all chunks
    let chunks = tokens.div_ceil(crate::cuda::args::CHUNK_CUT);
    let each = chunks * (2 * states + 2 * channels * 4);
    let loads = sectors(&[3 * rows, parameters, each]);
    check(&totals[2], loads, sectors(&[rows, states]), 1.05, 0);
}

#[test]
fn selective_scan_reads_and_writes_once() {
    scan::<f32>(16, 256, false);
    scan::<bf16>(16, 256, false);
    scan::<f32>(64, 128, false);
    scan::<f32>(128, 64, false);
    scan::<f32>(16, 512, true);
}

fn linear<T: Element, W: Element>(shape: (usize, usize, usize), inexact: bool, factor: f64) {
    let (counted, (tokens, k, n)) = (Counted::new(inexact), shape);
    let input = counted.buffer::<T>(tokens * k);
    let host: Vec<W> = (0..n * k).map(|i| W::from_f32((i % 7) as f32 - 3.0)).collect();
    let weight = counted.cuda.pack(Rows::new(&host[..], n, k).unwrap()).unwrap();
    let mut output = counted.buffer::<T>(tokens * n);
    let totals = counted.count(|cuda| {
        let args = Linear::<Cuda, T, T> {
            input: Rows::new(cuda.view(&input), tokens, k)?,
            weight: &weight,
            bias: None,
            epilogue: Epilogue::Store,
            output: Rows::new(cuda.view_mut(&mut output), tokens, n)?,
        };
        cuda.linear(args, &mut Default::default())
    });
    let kernel = &totals[0].kernel;
    // a block reads the rows of its tile once, of the input and of the weight
    let (height, width) = match kernel.as_str() {
        "mk_linear_exact_64" => (64, 64),
        kernel if kernel.starts_with("mk_linear_few") => (8, 16),
        _ => (128, 128),
    };
    let (down, across) = (tokens.div_ceil(height), n.div_ceil(width));
    let loads = sectors(&[across * tokens * k * size_of::<T>(), down * n * k * size_of::<W>()]);
    check(&totals[0], loads, sectors(&[tokens * n * size_of::<T>()]), factor, 0);
}

#[test]
fn linear_reads_each_tile_once() {
    linear::<f32, f32>((256, 128, 256), false, 1.10);
    linear::<f32, bf16>((64, 256, 128), false, 1.10);
    linear::<f32, f32>((8, 512, 128), false, 1.10);
    linear::<f32, bf16>((1, 512, 128), false, 1.10);
    linear::<bf16, bf16>((128, 256, 256), true, 1.10);
}

#[test]
fn in_proj_writes_both_halves_once() {
    let (counted, tokens, d_model, d_inner) = (Counted::new(false), 128, 64, 128);
    let input = counted.buffer::<f32>(tokens * d_model);
    let weight =
        counted.cuda.pack(Rows::new(&vec![0.5f32; 2 * d_inner * d_model][..], 2 * d_inner, d_model).unwrap());
    let weight = weight.unwrap();
    let (mut x, mut z) = (counted.buffer::<f32>(tokens * d_inner), counted.buffer::<f32>(tokens * d_inner));
    let totals = counted.count(|cuda| {
        let args = InProj::<Cuda, f32, 2> {
            input: Rows::new(cuda.view(&input), tokens, d_model)?,
            weight: &weight,
            bias: None,
            outputs: [
                Rows::new(cuda.view_mut(&mut x), tokens, d_inner)?,
                Rows::new(cuda.view_mut(&mut z), tokens, d_inner)?,
            ],
        };
        cuda.in_proj(args, &mut Default::default())
    });
    let (side, features) =
        if totals[0].kernel == "mk_linear_exact_64" { (64, 2 * d_inner) } else { (128, 2 * d_inner) };
    let (down, across) = (tokens.div_ceil(side), features.div_ceil(side));
    let loads = sectors(&[across * tokens * d_model * 4, down * features * d_model * 4]);
    check(&totals[0], loads, sectors(&[tokens * features * 4]), 1.10, 0);
}

#[test]
fn embedding_reads_and_writes_once() {
    let (counted, vocab, d_model) = (Counted::new(false), 50, 768);
    let weight = counted.cuda.pack(Rows::new(&vec![bf16::ONE; vocab * d_model][..], vocab, d_model).unwrap());
    let weight = weight.unwrap();
    let tokens = counted.cuda.upload(&[3u32, 1, 49, 0]).unwrap();
    let mut output = counted.buffer::<f32>(4 * d_model);
    let totals = counted.count(|cuda| {
        let args = Embedding::<Cuda, f32> {
            tokens: cuda.view(&tokens),
            weight: &weight,
            output: Rows::new(cuda.view_mut(&mut output), 4, d_model)?,
        };
        cuda.embedding(args, &mut Default::default())
    });
    check(&totals[0], sectors(&[4 * d_model * 2]), sectors(&[4 * d_model * 4]), 1.05, 0);
}

/// The structs of the host are those of the compiled kernels.
#[test]
fn argument_structs_have_the_sizes_of_the_kernels() {
    use crate::cuda::args::{
        ArgmaxArgs, ConvArgs, ConvertArgs, EmbeddingArgs, LinearArgs, NormArgs, ScanArgs,
    };
    let linear = [
        "mk_linear_exact_128",
        "mk_linear_exact_64",
        "mk_linear_few_rows_f16",
        "mk_linear_tensor_cores_bf16",
    ];
    for (kernels, size) in [
        (&linear[..], size_of::<LinearArgs>()),
        (&["mk_convert"], size_of::<ConvertArgs>()),
        (&["mk_causal_conv1d_f32", "mk_causal_conv1d_state"], size_of::<ConvArgs>()),
        (&["mk_scan_exact_4", "mk_scan_chunk_16", "mk_scan_combine"], size_of::<ScanArgs>()),
        (&["mk_rms_norm"], size_of::<NormArgs>()),
        (&["mk_embedding"], size_of::<EmbeddingArgs>()),
        (&["mk_argmax"], size_of::<ArgmaxArgs>()),
    ] {
        for kernel in kernels {
            assert_eq!(Executor::args_size(kernel), size as i64, "{kernel}");
        }
    }
    assert_eq!(Executor::args_size("mk_none"), -1);
}
