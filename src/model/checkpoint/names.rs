//! [`Names`]: where a checkpoint keeps the tensors that the published ones keep under `backbone.`.
#![forbid(unsafe_code)]

use crate::model::error::ModelError;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

/// A tensor that every model has: what stands before its name in a checkpoint is the prefix.
const ANCHOR: &str = "layers.0.norm.weight";
const HEAD: &str = "lm_head.weight";
const PUBLISHED: &str = "backbone.";

/// What stands before the names of a checkpoint's tensors.
pub(super) struct Names {
    /// In the place of `backbone.`: nothing in a model saved without its head, `model.` or more in a wrapper.
    prefix: String,
    /// Before `lm_head.weight`.
    head_prefix: String,
}

impl Names {
    /// Finds the prefixes among the names of all tensors. Without any layer they are those of the published
    /// checkpoints.
    ///
    /// # Errors
    /// [`ModelError::AmbiguousNames`] if there are several models and none is under `backbone.`.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>, files: &str) -> Result<Self, ModelError> {
        let names: HashSet<&str> = names.collect();
        let whole = |prefix: &&str| prefix.is_empty() || prefix.ends_with('.');
        let found: BTreeSet<&str> =
            names.iter().filter_map(|name| name.strip_suffix(ANCHOR)).filter(whole).collect();
        let prefix = match found.contains(PUBLISHED) {
            true => PUBLISHED,
            false => found.first().copied().unwrap_or(PUBLISHED),
        };
        if found.len() > 1 && prefix != PUBLISHED {
            let found = found.iter().map(|prefix| format!("{prefix}{ANCHOR}")).collect();
            return Err(ModelError::AmbiguousNames { files: files.into(), found });
        }
        let parent = prefix.trim_end_matches('.').rsplit_once('.').map_or("", |(parent, _)| parent);
        let parent = if parent.is_empty() { String::new() } else { format!("{parent}.") };
        let has_head = |prefix: &str| names.contains(&*format!("{prefix}{HEAD}"));
        let inside = !has_head(&parent) && has_head(prefix);
        let head_prefix = if inside { prefix.into() } else { parent };
        Ok(Self { prefix: prefix.into(), head_prefix })
    }

    /// The name in this checkpoint of a tensor by its published name.
    pub(super) fn stored<'a>(&self, published: &'a str) -> Cow<'a, str> {
        match published.strip_prefix(PUBLISHED) {
            Some(_) if self.prefix == PUBLISHED => published.into(),
            Some(name) => format!("{}{name}", self.prefix).into(),
            None => format!("{}{published}", self.head_prefix).into(),
        }
    }
}
