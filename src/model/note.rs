//! [`Note`]: what a loader did that a user may want to know.
#![forbid(unsafe_code)]

use std::fmt;

/// What [`Mamba::load`](super::Mamba::load) did that a user may want to know. `Display` says it in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Note {
    /// The configuration says that head and embedding are one matrix, but a head with other values is stored. That head
    /// is used, as transformers does from version 5 on.
    OwnHead,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Note::OwnHead => {
                "the configuration ties the head to the embedding, but the stored `lm_head.weight` differs from it: \
                 the stored head is used"
            }
        })
    }
}
