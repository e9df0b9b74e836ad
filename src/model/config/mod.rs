//! [`Config`]: what a checkpoint's `config.json` says, in either of its published forms.

mod fields;
mod hugging_face;
mod json;
mod sizes;
mod state_spaces;

pub use sizes::Config;
