//! Calls into the crate `tokenizers`, which panics on some files that it should refuse.

use anyhow::anyhow;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside [`guarded`].
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The result of a call, or its panic as an error. The panic's own message is not printed.
pub fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> anyhow::Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                print(info);
            }
        }));
    });
    let outside = INSIDE.replace(true);
    // What a panic leaves behind is a tokenizer that is not used again: every caller passes the error on.
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(outside);
    match result {
        Ok(result) => result.map_err(|error| anyhow!("{error}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(anyhow!("the tokenizers library panicked: {text}"))
        }
    }
}
