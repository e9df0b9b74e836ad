//! The weight files of a directory: one file, or shards and the index that says which tensor is in which.
#![forbid(unsafe_code)]

use super::mapped::{self, Bytes, FileAccess};
use crate::model::error::ModelError;
use crate::model::{files, json};
use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The weight files of a directory.
pub(in crate::model) struct WeightFiles {
    /// Each file with its path.
    pub files: Vec<(String, Bytes)>,
    pub index: Option<Index>,
}

/// Which tensor is in which file.
pub(in crate::model) struct Index {
    /// The path of the index.
    pub file: String,
    /// From the name of a tensor to the position of its file.
    pub weight_map: HashMap<String, usize>,
}

impl WeightFiles {
    /// The single file if it exists, else the shards that the index names.
    pub(in crate::model) fn open(dir: &Path, access: FileAccess) -> Result<Self, ModelError> {
        let single = dir.join(SINGLE);
        if files::exists(&single)? {
            let file = (single.display().to_string(), mapped::open(&single, access)?);
            return Ok(Self { files: vec![file], index: None });
        }
        let path = dir.join(INDEX);
        let Some(text) = files::read_json(&path)? else {
            return Err(ModelError::NoWeights { dir: dir.into() });
        };
        let file = path.display().to_string();
        #[derive(serde::Deserialize)]
        struct Entries {
            weight_map: HashMap<String, String>,
        }
        let Entries { weight_map } = json::typed(json::object(&text, &file)?, &file)?;
        let shards: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
        let mut files = Vec::new();
        let mut positions = HashMap::new();
        for shard in shards {
            positions.insert(shard, files.len());
            files.push(open_shard(dir, &path, shard, access)?);
        }
        let weight_map = weight_map.iter().map(|(name, shard)| (name.clone(), positions[shard.as_str()]));
        let index = Index { file, weight_map: weight_map.collect() };
        Ok(Self { files, index: Some(index) })
    }
}

/// A shard must be a plain file name, so an index cannot name files outside its directory.
fn open_shard(
    dir: &Path,
    index: &Path,
    shard: &str,
    access: FileAccess,
) -> Result<(String, Bytes), ModelError> {
    let mut parts = Path::new(shard).components();
    let plain =
        matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == shard);
    if !plain {
        return Err(ModelError::ShardOutside { index: index.into(), shard: shard.into() });
    }
    let path = dir.join(shard);
    if !files::exists(&path)? {
        return Err(ModelError::MissingShard { index: index.into(), shard: shard.into() });
    }
    Ok((path.display().to_string(), mapped::open(&path, access)?))
}
