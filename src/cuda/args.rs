//! The argument structs of `cuda/args.h`, field by field: pointers are device addresses, 0 for an absent one.
#![forbid(unsafe_code)]

use crate::arrays::{DType, Error, Result};
use crate::ops::Epilogue;
use bytemuck::{Pod, Zeroable};

/// `MK_CONV_CUT`: rows of a span of the convolution.
pub(super) const CONV_CUT: usize = 64;
/// `MK_CHUNK_CUT`: rows of a span of the scan that is parallel over time.
pub(super) const CHUNK_CUT: usize = 128;
/// Spans that are whole sequences.
pub(super) const WHOLE: usize = usize::MAX;
/// `MK_PADDING`: the slot of padding.
pub(super) const PADDING: u32 = u32::MAX;

/// The number of a storage type: `MK_F32` and so on.
///
/// # Errors
/// A type that no kernel computes with.
pub(super) fn type_number(op: &'static str, argument: &'static str, dtype: DType) -> Result<u32> {
    match dtype {
        DType::F32 => Ok(0),
        DType::F16 => Ok(1),
        DType::BF16 => Ok(2),
        DType::U32 => Err(Error::argument(op, argument, "elements of f32, f16 or bf16", dtype.name())),
    }
}

/// The number of an epilogue: `MK_EPILOGUE_STORE` and so on.
pub(super) fn epilogue_number(epilogue: Epilogue) -> u32 {
    match epilogue {
        Epilogue::Store => 0,
        Epilogue::Softplus => 1,
        Epilogue::Residual => 2,
    }
}

/// A size as the structs hold it. No array that is in memory has more.
pub(super) fn size(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A size as an argument of 32 bits.
pub(super) fn small(op: &'static str, argument: &'static str, size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::argument(op, argument, "a size below 2^32", size))
}

/// One extent of a grid: what `limit` allows, 2^31 - 1 in the first dimension and 65535 in the others.
pub(super) fn extent(op: &'static str, argument: &'static str, blocks: usize, limit: u32) -> Result<u32> {
    match u32::try_from(blocks) {
        Ok(blocks) if blocks <= limit => Ok(blocks),
        _ => {
            let expected = format_args!("a size that makes at most {limit} blocks").to_string();
            Err(Error::argument(op, argument, expected, format_args!("one of {blocks} blocks")))
        }
    }
}

/// The most blocks in the first dimension of a grid.
pub(super) const MOST_X: u32 = i32::MAX as u32;
/// The most blocks in the second and third.
pub(super) const MOST_Y: u32 = 65535;

macro_rules! structs {
    ($($name:ident: $bytes:literal { $($field:ident: $t:ty),* $(,)? })*) => {
        $(
            #[derive(Debug, Clone, Copy, Pod, Zeroable)]
            #[repr(C)]
            pub(super) struct $name {
                $(pub $field: $t),*
            }
        )*

        /// The structs: name, size, the size that is expected, and the fields.
        #[cfg(test)]
        const STRUCTS: &[(&str, usize, usize, &[&str])] =
            &[$((stringify!($name), size_of::<$name>(), $bytes, &[$(stringify!($field)),*])),*];
    };
}

structs! {
    Span: 40 { begin: i64, end: i64, sequence_begin: i64, sequence_end: i64, slot: u32, reserved: u32 }
    LinearArgs: 120 {
        weight: u64,
        input: u64,
        bias: u64,
        output: u64,
        output_high: u64,
        weight_stride: i64,
        input_stride: i64,
        output_stride: i64,
        output_high_stride: i64,
        tokens: i64,
        in_features: i64,
        out_features: i64,
        split: i64,
        weight_type: u32,
        input_type: u32,
        output_type: u32,
        epilogue: u32,
    }
    ConvertArgs: 56 {
        input: u64,
        output: u64,
        input_stride: i64,
        output_stride: i64,
        rows: i64,
        columns: i64,
        input_type: u32,
        output_type: u32,
    }
    ConvArgs: 88 {
        input: u64,
        weight: u64,
        bias: u64,
        state: u64,
        output: u64,
        spans: u64,
        input_stride: i64,
        output_stride: i64,
        channels: i64,
        d_conv: u32,
        silu: u32,
        type_: u32,
        vector: u32,
    }
    ScanArgs: 200 {
        u: u64,
        delta: u64,
        b: u64,
        c: u64,
        z: u64,
        a: u64,
        d: u64,
        delta_bias: u64,
        state_in: u64,
        state_out: u64,
        chunk_state: u64,
        chunk_delta: u64,
        output: u64,
        spans: u64,
        u_stride: i64,
        delta_stride: i64,
        b_stride: i64,
        c_stride: i64,
        z_stride: i64,
        output_stride: i64,
        channels: i64,
        span_count: i64,
        d_state: u32,
        n_groups: u32,
        delta_softplus: u32,
        type_: u32,
        chunked: u32,
        reserved: u32,
    }
    NormArgs: 80 {
        input: u64,
        residual: u64,
        weight: u64,
        output: u64,
        input_stride: i64,
        residual_stride: i64,
        output_stride: i64,
        channels: i64,
        eps: f32,
        input_type: u32,
        output_type: u32,
        tile: u32,
    }
    EmbeddingArgs: 64 {
        tokens: u64,
        weight: u64,
        output: u64,
        weight_stride: i64,
        output_stride: i64,
        vocab: i64,
        d_model: i64,
        weight_type: u32,
        output_type: u32,
    }
    ArgmaxArgs: 40 { input: u64, output: u64, stride: i64, columns: i64, type_: u32, reserved: u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The declarations of the header, as `(struct, fields)`.
    fn header() -> Vec<(String, Vec<String>)> {
        let text = include_str!("../../cuda/args.h");
        let structs = text.split("\nstruct ").skip(1).map(|rest| {
            let (name, rest) = rest.split_once(" {").unwrap();
            let body = &rest[..rest.find("\n};").unwrap()];
            let fields = body.lines().filter_map(|line| line.split_once(';').map(|(field, _)| field));
            (name.to_string(), fields.map(|field| field.trim().to_string()).collect())
        });
        structs.collect()
    }

    #[test]
    fn structs_are_those_of_the_header() {
        let header = header();
        for &(name, size, expected, fields) in STRUCTS {
            assert_eq!(size, expected, "{name}");
            let (_, declared) = header.iter().find(|(found, _)| found == name).unwrap();
            let names = declared.iter().map(|field| field.rsplit([' ', '*']).next().unwrap());
            let names: Vec<&str> = names.map(|field| if field == "type" { "type_" } else { field }).collect();
            assert_eq!(names, fields, "{name}");
            let wide = |field: &&String| field.contains('*') || field.contains("64_t ");
            let bytes = 4 * declared.len() + 4 * declared.iter().filter(wide).count();
            assert_eq!(bytes, size, "{name}");
        }
    }

    /// The constant of this name in the header.
    fn constant(name: &str) -> u64 {
        let text = include_str!("../../cuda/args.h");
        let line = text.lines().find(|line| line.starts_with(&format!("#define {name} "))).unwrap();
        let value = line.split_whitespace().nth(2).unwrap().trim_end_matches('u');
        match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
            None => value.parse().unwrap(),
        }
    }

    #[test]
    fn constants_are_those_of_the_header() {
        assert_eq!(constant("MK_CONV_CUT"), CONV_CUT as u64);
        assert_eq!(constant("MK_CHUNK_CUT"), CHUNK_CUT as u64);
        assert_eq!(constant("MK_PADDING"), u64::from(PADDING));
        for (name, dtype) in [("MK_F32", DType::F32), ("MK_F16", DType::F16), ("MK_BF16", DType::BF16)] {
            assert_eq!(type_number("test", "input", dtype).map(u64::from), Ok(constant(name)));
        }
        assert!(type_number("test", "input", DType::U32).is_err());
        for (name, epilogue) in [
            ("MK_EPILOGUE_STORE", Epilogue::Store),
            ("MK_EPILOGUE_SOFTPLUS", Epilogue::Softplus),
            ("MK_EPILOGUE_RESIDUAL", Epilogue::Residual),
        ] {
            assert_eq!(constant(name), u64::from(epilogue_number(epilogue)));
        }
    }
}
