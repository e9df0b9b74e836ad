//! This crate: the model if a folder is named; its products in the bf16 mode if that is `bf16dot`; otherwise the ops.

use mamba_kernels::model::{Logits, Mamba, Scratch};
use mamba_kernels::ops::{Activation, CausalConv1d, Epilogue, Linear, SelectiveScan};
use mamba_kernels::{Backend, Batch, Cpu, Element, Rows, WeightFormat, bf16};
use mamba_kernels_peers::{PRODUCTS, Work, arguments, check_tokens, prompt, serve, values};
use std::cell::RefCell;
use std::rc::Rc;

/// A product with weights of type `W`, packed as that or in a format of their own.
fn product<W: Element>(
    cpu: &Cpu,
    name: String,
    [m, k, n]: [usize; 3],
    format: Option<WeightFormat>,
) -> Work {
    let cpu = cpu.clone();
    let weight: Vec<W> = values(n * k).into_iter().map(W::from_f32).collect();
    let weight = Rows::new(&weight[..], n, k).unwrap();
    let weight = match format {
        Some(format) => cpu.pack_as(weight, format).unwrap(),
        None => cpu.pack(weight).unwrap(),
    };
    let (input, mut output) = (values(m * k), vec![0.0f32; m * n]);
    let mut workspace = Default::default();
    let run = move || {
        let args = Linear::<Cpu, f32, f32> {
            input: Rows::new(&input[..], m, k).unwrap(),
            weight: &weight,
            bias: None,
            epilogue: Epilogue::Store,
            output: Rows::new(&mut output[..], m, n).unwrap(),
        };
        cpu.linear(args, &mut workspace).unwrap();
    };
    (name, Box::new(run), 1.0)
}

/// Of bf16 weights.
fn bf16_products(cpu: &Cpu, format: Option<WeightFormat>) -> Vec<Work> {
    [PRODUCTS[2], PRODUCTS[7]]
        .map(|(name, m, k, n)| product::<bf16>(cpu, format!("{name}_bf16"), [m, k, n], format))
        .into()
}

fn ops(cpu: &Cpu) -> Vec<Work> {
    let mut work: Vec<Work> =
        PRODUCTS.iter().map(|&(name, m, k, n)| product::<f32>(cpu, name.into(), [m, k, n], None)).collect();
    work.extend(bf16_products(cpu, None));
    let (l, d, n) = (2048, 1536, 16);
    let (u, delta, z, bc) = (values(l * d), values(l * d), values(l * d), values(l * 2 * n));
    let a: Vec<f32> = (0..n * d).map(|i| -(1.0 + (i / d) as f32)).collect();
    let (weight, bias) = (values(4 * d), values(d));
    let (mut y, batch, mut workspace) = (vec![0.0f32; l * d], Batch::single(l), Default::default());
    let (input, conv_bias, scan_cpu) = (u.clone(), bias.clone(), cpu.clone());
    work.push((
        "scan".into(),
        Box::new(move || {
            let bc = Rows::new(&bc[..], l, 2 * n).unwrap();
            let args = SelectiveScan::<Cpu, f32> {
                u: Rows::new(&u[..], l, d).unwrap(),
                delta: Rows::new(&delta[..], l, d).unwrap(),
                a: &a,
                b: bc.columns(0..n).unwrap(),
                c: bc.columns(n..2 * n).unwrap(),
                n_groups: 1,
                d: Some(&bias),
                z: Some(Rows::new(&z[..], l, d).unwrap()),
                delta_bias: Some(&bias),
                delta_softplus: true,
                batch: &batch,
                state: None,
                output: Rows::new(&mut y[..], l, d).unwrap(),
            };
            scan_cpu.selective_scan(args, &mut workspace).unwrap();
        }),
        1.0,
    ));
    let (mut y, batch, cpu) = (vec![0.0f32; l * d], Batch::single(l), cpu.clone());
    work.push((
        "conv".into(),
        Box::new(move || {
            let args = CausalConv1d::<Cpu, f32> {
                input: Rows::new(&input[..], l, d).unwrap(),
                weight: &weight,
                bias: Some(&conv_bias),
                activation: Activation::Silu,
                batch: &batch,
                state: None,
                output: Rows::new(&mut y[..], l, d).unwrap(),
            };
            cpu.causal_conv1d(args, &mut Default::default()).unwrap();
        }),
        1.0,
    ));
    work
}

fn main() {
    let (threads, model) = arguments();
    let cpu = Cpu::builder().threads(threads).build().unwrap();
    let manifest = include_str!("../../../../../Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("version = ")).expect("a package has one");
    let version = format!("mamba-kernels {}, {}", version.trim_matches('"'), cpu.description());
    if model.is_empty() {
        return serve(&version, ops(&cpu), || None);
    }
    if model == "bf16dot" {
        let work = bf16_products(&cpu, Some(WeightFormat::Bf16Pairs));
        return serve(&format!("{version}, WeightFormat::Bf16Pairs"), work, || None);
    }
    let model = Rc::new(Mamba::load(cpu, model.as_ref()).unwrap());
    let scratch = Rc::new(RefCell::new(Scratch::with_segment_tokens(512)));
    let run = {
        let (model, scratch) = (model.clone(), scratch.clone());
        Rc::new(move |calls: &[&[u32]]| {
            let mut state = model.new_state(1).unwrap();
            let mut logits = Vec::new();
            for tokens in calls {
                let batch = Batch::single(tokens.len());
                let scratch = &mut scratch.borrow_mut();
                logits = model.forward(tokens, &batch, &mut state, Logits::Last, scratch).unwrap();
            }
            logits
        })
    };
    let (prefill, decode) = (run.clone(), run.clone());
    let work: Vec<Work> = vec![
        ("prefill".into(), Box::new(move || _ = prefill(&[&prompt(512)])), 512.0),
        ("decode".into(), Box::new(move || _ = decode(&prompt(32).chunks(1).collect::<Vec<_>>())), 32.0),
    ];
    serve(&version, work, move || Some(run(&[&check_tokens()])[..16].to_vec()));
}
