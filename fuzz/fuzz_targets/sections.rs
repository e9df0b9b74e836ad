//! An input of several files: each is a length in four bytes, little-endian, and as many bytes, if there are as many.

/// The first `N` of them.
pub fn sections<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|_| {
        let Some((length, rest)) = data.split_first_chunk::<4>() else { return std::mem::take(&mut data) };
        let (section, rest) = rest.split_at(rest.len().min(u32::from_le_bytes(*length) as usize));
        data = rest;
        section
    })
}
