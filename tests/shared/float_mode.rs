//! Floating-point modes of a caller's thread other than the one that Rust assumes.
#![allow(dead_code, reason = "each test program uses a part")]

/// A mode by name: the value of MXCSR.
#[cfg(target_arch = "x86_64")]
pub const OTHERS: &[(&str, u64)] = &[
    ("flush to zero", 0x1f80 | 1 << 15 | 1 << 6),
    ("rounding toward zero", 0x1f80 | 0b11 << 13),
    ("rounding up and flush to zero", 0x1f80 | 0b10 << 13 | 1 << 15 | 1 << 6),
];
/// A mode by name: the value of FPCR.
#[cfg(target_arch = "aarch64")]
pub const OTHERS: &[(&str, u64)] = &[
    ("flush to zero", 1 << 24),
    ("rounding toward zero", 0b11 << 22),
    ("rounding up, flush to zero and default NaNs", 0b01 << 22 | 1 << 24 | 1 << 25),
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const OTHERS: &[(&str, u64)] = &[];

#[cfg(target_arch = "x86_64")]
fn swap(new: u64) -> u64 {
    let (mut old, new) = (0u32, new as u32);
    // SAFETY: the register's four bytes are stored to `old` and loaded from `new`, a mode above or one that was read.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", "ldmxcsr [{}]", in(reg) &raw mut old, in(reg) &raw const new, options(nostack));
    }
    // the low bits tell which exceptions have occurred
    u64::from(old & !0x3f)
}

#[cfg(target_arch = "aarch64")]
fn swap(new: u64) -> u64 {
    let old;
    // SAFETY: `new` is a mode above or one that was read.
    unsafe { std::arch::asm!("mrs {}, fpcr", "msr fpcr, {}", out(reg) old, in(reg) new, options(nostack)) };
    old
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn swap(new: u64) -> u64 {
    new
}

/// Runs `work` on this thread in a mode, and checks that the mode is the same at its end.
pub fn within<R>((name, mode): (&str, u64), work: impl FnOnce() -> R) -> R {
    let before = swap(mode);
    let result = work();
    let after = swap(before);
    assert_eq!(after, mode, "{name} after the call");
    result
}
