//! `embedding`: rows of a packed weight matrix.

use crate::arrays::{Element, Result};
use crate::cpu::machine::cpu::Cpu;
use crate::ops::Embedding;

pub(in crate::cpu) fn embedding<U: Element>(_: &Cpu, mut args: Embedding<'_, Cpu, U>) -> Result<()> {
    let shape = args.validate()?;
    Embedding::<Cpu, U>::expect_in_vocab(args.tokens, shape.vocab)?;
    for (t, &token) in args.tokens.iter().enumerate() {
        args.weight.read_row(token as usize, args.output.row_mut(t));
    }
    Ok(())
}
