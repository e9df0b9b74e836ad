//! `selective_scan` on the CPU: token by token, and in chunks, over the same kernels.

mod arrays;
mod chunked;
pub(in crate::cpu) mod forward;
mod kernels;
mod step;
mod strip;
