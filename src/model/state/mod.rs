//! [`State`]: the recurrent state of any number of sequences, and the file it is saved in.

mod file;
mod pools;

pub use pools::State;
