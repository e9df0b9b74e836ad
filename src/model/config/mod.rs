//! [`Config`]: what a checkpoint's `config.json` says, in either of its published forms.

pub(super) mod fields;
mod hugging_face;
mod json;
mod sizes;
mod state_spaces;

pub use sizes::Config;
