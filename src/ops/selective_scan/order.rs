//! [`ScanOrder`]: how a scan goes through time.

use std::num::NonZeroUsize;

/// The order in which a backend takes the selective scan through time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum ScanOrder {
    /// Token by token, as the arithmetic contract says. Threads share sequences and channels.
    #[default]
    Sequential,
    /// Chunks of this many tokens in parallel, for a sequence with too few channels for the threads. Inexact.
    ///
    /// Every chunk except the first and the last is scanned from zeros without outputs, together with the product of
    /// its decays. These give the states before all chunks, from which the chunks are then scanned as the contract
    /// says. The result depends on the length of a chunk and on where a call starts in a sequence; given these, it has
    /// the same bits on every instruction set and at every number of threads. `docs/mathematics.md` derives it, with
    /// its error.
    Chunked {
        /// Tokens of a chunk.
        tokens: NonZeroUsize,
    },
}
