//! Loops that only read, write or copy, in a few forms of which the fastest on a machine is its ceiling.

use mamba_kernels::cpu::Isa;

/// How a loop goes over its array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    /// Parts of the array that are gone through side by side: 1, 2, 4 or 8.
    pub streams: usize,
    /// Prefetch distance in bytes; 0 is no prefetch.
    pub ahead: usize,
    /// Non-temporal stores.
    pub past: bool,
}

/// Bytes that each stream is moved on by in a step.
const STEP: usize = 256;

/// Reads all bytes. The length is a multiple of `STEP` times the streams.
pub fn read(isa: Isa, data: &[f32], form: Form) -> f32 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller passes an instruction set that this CPU has.
        Isa::Avx512 => unsafe { avx512::read(data, form) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2::read(data, form) },
        _ => {
            let mut sums = [0f32; 64];
            for chunk in data.chunks_exact(64) {
                sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
            }
            sums.iter().sum()
        }
    }
}

/// Writes all bytes.
pub fn write(isa: Isa, target: &mut [f32], value: f32, form: Form) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller passes an instruction set that this CPU has.
        Isa::Avx512 => unsafe { avx512::write(target, value, form) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2::write(target, value, form) },
        _ => target.fill(value),
    }
}

/// Copies all bytes.
pub fn copy(isa: Isa, source: &[f32], target: &mut [f32], form: Form) {
    assert_eq!(source.len(), target.len());
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller passes an instruction set that this CPU has.
        Isa::Avx512 => unsafe { avx512::copy(source, target, form) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2::copy(source, target, form) },
        _ => target.copy_from_slice(source),
    }
}

/// The loops for one width of vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! loops {
    ($module:ident, $features:literal, $lanes:literal, $zero:ident, $set:ident, $load:ident, $store:ident, $past:ident, $add:ident, $out:ident) => {
        mod $module {
            use super::{Form, STEP};
            use std::arch::x86_64::*;

            const PER_STEP: usize = STEP / 4 / $lanes;

            fn part(len: usize, streams: usize) -> usize {
                let part = len / streams;
                assert_eq!(part * streams, len);
                assert_eq!(part % (STEP / 4), 0);
                part
            }

            #[target_feature(enable = $features)]
            pub fn read(data: &[f32], form: Form) -> f32 {
                match form.streams {
                    1 => read_streams::<1>(data, form),
                    2 => read_streams::<2>(data, form),
                    4 => read_streams::<4>(data, form),
                    _ => read_streams::<8>(data, form),
                }
            }

            #[target_feature(enable = $features)]
            fn read_streams<const STREAMS: usize>(data: &[f32], form: Form) -> f32 {
                let part = part(data.len(), STREAMS);
                let mut sums = [$zero(); PER_STEP];
                for i in (0..part).step_by(STEP / 4) {
                    for stream in 0..STREAMS {
                        let start = data.as_ptr().wrapping_add(stream * part + i);
                        if form.ahead > 0 {
                            for line in 0..STEP / 64 {
                                _mm_prefetch::<_MM_HINT_T0>(
                                    start.wrapping_byte_add(form.ahead + 64 * line).cast(),
                                );
                            }
                        }
                        for (j, sum) in sums.iter_mut().enumerate() {
                            // SAFETY: `part` checked that the step ends within this stream's part of the array.
                            *sum = $add(*sum, unsafe { $load(start.add($lanes * j)) });
                        }
                    }
                }
                let mut total = $zero();
                for sum in sums {
                    total = $add(total, sum);
                }
                let mut lanes = [0f32; $lanes];
                // SAFETY: the array holds a vector.
                unsafe { $out(lanes.as_mut_ptr(), total) };
                lanes.iter().sum()
            }

            #[target_feature(enable = $features)]
            pub fn write(target: &mut [f32], value: f32, form: Form) {
                match form.streams {
                    1 => write_streams::<1>(target, value, form),
                    2 => write_streams::<2>(target, value, form),
                    4 => write_streams::<4>(target, value, form),
                    _ => write_streams::<8>(target, value, form),
                }
            }

            #[target_feature(enable = $features)]
            fn write_streams<const STREAMS: usize>(target: &mut [f32], value: f32, form: Form) {
                let part = part(target.len(), STREAMS);
                let value = $set(value);
                for i in (0..part).step_by(STEP / 4) {
                    for stream in 0..STREAMS {
                        let start = target.as_mut_ptr().wrapping_add(stream * part + i);
                        for j in 0..PER_STEP {
                            // SAFETY: as in `read`; the arrays that are measured start at whole pages.
                            unsafe {
                                if form.past {
                                    $past(start.add($lanes * j), value)
                                } else {
                                    $store(start.add($lanes * j), value)
                                }
                            }
                        }
                    }
                }
                _mm_sfence();
            }

            #[target_feature(enable = $features)]
            pub fn copy(source: &[f32], target: &mut [f32], form: Form) {
                match form.streams {
                    1 => copy_streams::<1>(source, target, form),
                    2 => copy_streams::<2>(source, target, form),
                    4 => copy_streams::<4>(source, target, form),
                    _ => copy_streams::<8>(source, target, form),
                }
            }

            #[target_feature(enable = $features)]
            fn copy_streams<const STREAMS: usize>(source: &[f32], target: &mut [f32], form: Form) {
                let part = part(source.len(), STREAMS);
                assert_eq!(source.len(), target.len());
                for i in (0..part).step_by(STEP / 4) {
                    for stream in 0..STREAMS {
                        let from = source.as_ptr().wrapping_add(stream * part + i);
                        let to = target.as_mut_ptr().wrapping_add(stream * part + i);
                        if form.ahead > 0 {
                            for line in 0..STEP / 64 {
                                _mm_prefetch::<_MM_HINT_T0>(
                                    from.wrapping_byte_add(form.ahead + 64 * line).cast(),
                                );
                            }
                        }
                        for j in 0..PER_STEP {
                            // SAFETY: as in `read` and `write`; both arrays have the same length.
                            unsafe {
                                let value = $load(from.add($lanes * j));
                                if form.past {
                                    $past(to.add($lanes * j), value)
                                } else {
                                    $store(to.add($lanes * j), value)
                                }
                            }
                        }
                    }
                }
                _mm_sfence();
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
loops!(
    avx512,
    "avx512f",
    16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_stream_ps,
    _mm512_add_ps,
    _mm512_storeu_ps
);
#[cfg(target_arch = "x86_64")]
loops!(
    avx2,
    "avx2",
    8,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_stream_ps,
    _mm256_add_ps,
    _mm256_storeu_ps
);
