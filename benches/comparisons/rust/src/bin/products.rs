//! The matrix products of the crates `gemm` and `faer`: `THREADS gemm` or `THREADS faer`.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use mamba_kernels_peers::{PRODUCTS, Work, arguments, serve, values, version_of};

fn main() {
    let (threads, library) = arguments();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let use_gemm = library == "gemm";
    let work = PRODUCTS.iter().map(|&(name, m, k, n)| -> Work {
        let (input, weight, mut output) = (values(m * k), values(n * k), vec![0.0f32; m * n]);
        let run: Box<dyn FnMut()> = if use_gemm {
            Box::new(move || {
                let parallel =
                    if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
                // SAFETY: row-major input [m, k] and output [m, n], and the transpose of the weight [n, k].
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        output.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        input.as_ptr(),
                        1,
                        k as isize,
                        weight.as_ptr(),
                        k as isize,
                        1,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        parallel,
                    );
                }
            })
        } else {
            Box::new(move || {
                let output = MatMut::from_row_major_slice_mut(&mut output, m, n);
                let input = MatRef::from_row_major_slice(&input, m, k);
                let weight = MatRef::from_row_major_slice(&weight, n, k).transpose();
                let parallel = if threads > 1 { Par::rayon(threads) } else { Par::Seq };
                matmul(output, Accum::Replace, input, weight, 1.0, parallel);
            })
        };
        (name.into(), run, 1.0)
    });
    serve(&version_of(if use_gemm { "gemm" } else { "faer" }), work.collect(), || None);
}
