//! [`MambaStatus`], the message of the last error, and [`guarded`], which lets no panic out.

use kernels::Error;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum MambaStatus {
    /// The call succeeded.
    Ok = 0,
    /// An argument is invalid. Nothing has been written.
    Argument = 1,
    /// Out of memory.
    OutOfMemory = 2,
    /// This machine does not have what was requested.
    Unavailable = 3,
    /// A defect of this library. The contents of arrays that the call writes are unspecified; handles stay usable.
    Internal = 4,
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn remember(message: &str) {
    // a NUL would end the message early
    let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    // the thread-local is gone while a thread ends
    let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = message);
}

/// The message, in UTF-8, of the last call on this thread that did not return `MAMBA_STATUS_OK`; empty if there was none.
/// The string is valid until the next failing call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn mamba_last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs the body of a function of the interface. Errors and panics become a status and a message.
pub(crate) fn guarded(body: impl FnOnce() -> kernels::Result<()>) -> MambaStatus {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => MambaStatus::Ok,
        Ok(Err(error)) => {
            remember(&error.to_string());
            match error {
                Error::Argument { .. } => MambaStatus::Argument,
                Error::OutOfMemory { .. } => MambaStatus::OutOfMemory,
                Error::Unavailable { .. } => MambaStatus::Unavailable,
                _ => MambaStatus::Internal,
            }
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            remember(&format!("panic: {}", text.as_deref().unwrap_or("without a message")));
            // dropping what was thrown could panic again
            std::mem::forget(panic);
            MambaStatus::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last() -> String {
        // SAFETY: it is a NUL-terminated string of this thread, and no call has failed since.
        unsafe { CStr::from_ptr(mamba_last_error()) }.to_str().unwrap().into()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guarded(|| panic!("row {} is\0gone", 3)), MambaStatus::Internal);
        assert_eq!(last(), "panic: row 3 is\u{fffd}gone");
        assert_eq!(guarded(|| std::panic::panic_any(7)), MambaStatus::Internal);
        assert_eq!(last(), "panic: without a message");
    }

    #[test]
    fn errors_have_codes_and_messages() {
        assert_eq!(guarded(|| Err(Error::argument("op", "x", "3", 4))), MambaStatus::Argument);
        assert_eq!(last(), "op: argument `x`: expected 3, found 4");
        let error = Error::OutOfMemory { op: "op", elements: 9, dtype: "f32" };
        assert_eq!(guarded(|| Err(error)), MambaStatus::OutOfMemory);
        let other = std::thread::spawn(last).join().unwrap();
        assert_eq!((guarded(|| Ok(())), other.as_str()), (MambaStatus::Ok, ""));
        assert!(last().contains("9 elements of f32"));
    }
}
