//! ```text
//! output[t] = weight[tokens[t]]
//! ```
//!
//! PyTorch's `nn.Embedding`.

use crate::arrays::{Element, Result};
use crate::ops::Embedding;
use crate::reference::memory::Reference;

pub(in crate::reference) fn embedding<U: Element>(mut args: Embedding<'_, Reference, U>) -> Result<()> {
    let shape = args.validate()?;
    Embedding::<Reference, U>::expect_in_vocab(args.tokens, shape.vocab)?;
    for (t, &token) in args.tokens.iter().enumerate() {
        let row = args.weight.row(token as usize); // [d_model]
        args.output.row_mut(t).iter_mut().zip(row).for_each(|(out, &w)| *out = U::from_f32(w));
    }
    Ok(())
}
