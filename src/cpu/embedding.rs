//! Rows of a packed weight matrix.

use super::Cpu;
use crate::element::Element;
use crate::error::Result;
use crate::ops::Embedding;

pub(super) fn embedding<U: Element>(_: &Cpu, mut args: Embedding<'_, Cpu, U>) -> Result<()> {
    let shape = args.validate()?;
    Embedding::<Cpu, U>::expect_in_vocab(args.tokens, shape.vocab)?;
    for (t, &token) in args.tokens.iter().enumerate() {
        args.weight.copy_row(token as usize, args.output.row_mut(t));
    }
    Ok(())
}
