//! The exact CPU backend. For now it stands on the reference.
use crate::Reference;

/// The CPU backend.
pub type Cpu = Reference;

impl Reference {
    /// The CPU backend.
    pub fn new() -> Self {
        Reference
    }

    /// What it runs on.
    pub fn description(&self) -> String {
        "reference".into()
    }
}
