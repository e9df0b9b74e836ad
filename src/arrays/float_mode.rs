//! The floating-point mode of a thread: rounding, flush to zero, traps.
//!
//! All arithmetic of this crate assumes the mode that a process starts with, and so does Rust itself. A caller's thread
//! may have another one: `torch.set_flush_denormal` and libraries built with fast-math flush subnormal numbers to zero.
//! So each call that computes takes the default mode first, and gives the caller's back when it returns.

use std::marker::PhantomData;

/// The default mode of the calling thread, from [`FloatMode::standard`] until this is dropped.
#[must_use = "the mode is the caller's again when this is dropped"]
pub(crate) struct FloatMode {
    /// The caller's control register, if it differs from the default.
    callers: Option<register::Word>,
    /// The mode is a thread's.
    not_send: PhantomData<*const ()>,
}

impl FloatMode {
    /// Takes the default mode: rounding to nearest, ties to even; subnormal numbers kept; no traps.
    ///
    /// The register is only read if it has that mode already, which takes some nanoseconds; writing it takes longer.
    #[inline(always)]
    pub(crate) fn standard() -> Self {
        let word = register::read();
        let callers = (!register::is_standard(word)).then_some(word);
        if callers.is_some() {
            register::write(register::STANDARD);
        }
        Self { callers, not_send: PhantomData }
    }

    /// Takes the default mode for as long as the thread lives.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for FloatMode {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(word) = self.callers {
            register::write(word);
        }
    }
}

// The compiler has to assume that these assembly blocks access memory: no number that comes from memory is read, and no
// result is stored, on the other side of one.

/// MXCSR.
#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    pub(super) type Word = u32;

    /// All exceptions masked; everything else off.
    pub(super) const STANDARD: Word = 0x1f80;
    /// The bits below tell which exceptions have occurred: they are no mode.
    const CONTROL: Word = !0x3f;

    #[inline(always)]
    pub(super) fn is_standard(word: Word) -> bool {
        word & CONTROL == STANDARD
    }

    #[inline(always)]
    pub(super) fn read() -> Word {
        let mut word = 0;
        // SAFETY: it stores the register's four bytes to `word`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word
    }

    #[inline(always)]
    pub(super) fn write(word: Word) {
        // SAFETY: it loads the register's four bytes from `word`: the default, or what `read` has returned, so no bit is
        // set that the CPU does not have.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

/// FPCR.
#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    pub(super) type Word = u64;

    /// Everything off.
    pub(super) const STANDARD: Word = 0;

    #[inline(always)]
    pub(super) fn is_standard(word: Word) -> bool {
        word == STANDARD
    }

    #[inline(always)]
    pub(super) fn read() -> Word {
        let word;
        // SAFETY: it only reads the register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags)) };
        word
    }

    #[inline(always)]
    pub(super) fn write(word: Word) {
        // SAFETY: `word` is the default, or what `read` has returned.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

/// Nothing is known of other CPUs: there the mode is the caller's.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub(super) type Word = ();

    pub(super) const STANDARD: Word = ();

    pub(super) fn is_standard((): Word) -> bool {
        true
    }

    pub(super) fn read() -> Word {}

    pub(super) fn write((): Word) {}
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Flush to zero.
    #[cfg(target_arch = "x86_64")]
    const FLUSHING: register::Word = register::STANDARD | 1 << 15 | 1 << 6;
    #[cfg(target_arch = "aarch64")]
    const FLUSHING: register::Word = 1 << 24;

    /// Half of the smallest normal number. The product is made here: without the outer `black_box` the compiler may move it
    /// past a change of the mode.
    fn half_of_the_smallest() -> f32 {
        black_box(black_box(f32::MIN_POSITIVE) * black_box(0.5))
    }

    #[test]
    fn the_default_mode_ends_with_the_guard() {
        register::write(FLUSHING);
        let outside = half_of_the_smallest().to_bits();
        let mode = FloatMode::standard();
        let inside = half_of_the_smallest().to_bits();
        // a guard in a guard has nothing to give back
        drop(FloatMode::standard());
        let still_inside = half_of_the_smallest().to_bits();
        drop(mode);
        let after = half_of_the_smallest().to_bits();
        register::write(register::STANDARD);
        assert_eq!((outside, after), (0, 0));
        assert_eq!((inside, still_inside), (1 << 22, 1 << 22));
    }

    #[test]
    fn a_panic_gives_the_mode_back() {
        register::write(FLUSHING);
        let caught = std::panic::catch_unwind(|| {
            let _mode = FloatMode::standard();
            std::panic::resume_unwind(Box::new(()));
        });
        let after = half_of_the_smallest().to_bits();
        register::write(register::STANDARD);
        assert!(caught.is_err());
        assert_eq!(after, 0);
    }
}
