//! Tests of the whole backend on the checked executor.

mod argmax;
mod caller_stream;
mod traffic;
