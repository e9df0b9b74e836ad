//! A convolution whose output is large enough for non-temporal stores gives the same bits as two halves that are not.

use mamba_kernels::cpu::Isa;
use mamba_kernels::ops::{Activation, CausalConv1d};
use mamba_kernels::{Backend, Batch, Cpu, Rows};

const TOKENS: usize = 1500;
const TAPS: usize = 4;
/// Of the arrays, of which the op sees `CHANNELS` from `FIRST` on: rows start within a vector.
const STRIDE: usize = 1536;
const FIRST: usize = 3;
const CHANNELS: usize = 1501;

/// Fixed numbers in `[-1, 1)`.
fn numbers(len: usize, factor: u32) -> Vec<f32> {
    let number = |i: u32| i.wrapping_mul(factor).wrapping_mul(0x9e37_79b9) as i32 as f32 / 2f32.powi(31);
    (0..len as u32).map(number).collect()
}

/// The output of the calls for these numbers of tokens, one after the other.
fn outputs(cpu: &Cpu, calls: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let (input, weight, bias) =
        (numbers(TOKENS * STRIDE, 7), numbers(TAPS * CHANNELS, 11), numbers(CHANNELS, 13));
    let mut output = vec![9.0; TOKENS * STRIDE];
    let mut state = numbers((TAPS - 1) * CHANNELS, 17);
    let mut first = 0;
    for &tokens in calls {
        let rows = first * STRIDE..(first + tokens) * STRIDE;
        let input = Rows::new(&input[rows.clone()], tokens, STRIDE).unwrap();
        let output = Rows::new(&mut output[rows], tokens, STRIDE).unwrap();
        let args = CausalConv1d::<Cpu, f32> {
            input: input.columns(FIRST..FIRST + CHANNELS).unwrap(),
            weight: &weight,
            bias: Some(&bias),
            activation: Activation::Silu,
            batch: &Batch::single(tokens),
            state: Some(&mut state),
            output: output.columns(FIRST..FIRST + CHANNELS).unwrap(),
        };
        cpu.causal_conv1d(args, &mut Default::default()).unwrap();
        first += tokens;
    }
    (output, state)
}

#[test]
fn a_large_output_has_the_bits_of_its_parts() {
    const { assert!(4 * TOKENS * CHANNELS > 8 << 20 && 4 * TOKENS * CHANNELS / 2 < 8 << 20) };
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for &isa in Isa::ALL {
        let Ok(cpu) = Cpu::builder().isa(isa).threads(2).build() else { continue };
        let (whole, parts) = (outputs(&cpu, &[TOKENS]), outputs(&cpu, &[701, TOKENS - 701]));
        assert!(bits(whole.0) == bits(parts.0), "{isa}: outputs differ");
        assert!(bits(whole.1) == bits(parts.1), "{isa}: states differ");
    }
}
