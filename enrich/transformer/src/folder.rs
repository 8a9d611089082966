//! The files of a model.

use std::path::{Path, PathBuf};

use crate::ModelError;
use crate::config::Config;

/// What kind of model it is, its sizes and its labels.
pub const CONFIG: &str = "config.json";
/// Texts to tokens.
pub const TOKENIZER: &str = "tokenizer.json";
/// The weights.
pub const WEIGHTS: &str = "model.safetensors";

/// The labels of the model in `folder`, of its configuration alone.
///
/// # Errors
/// No folder, no configuration, or one of a model that cannot be used.
pub fn labels(folder: &Path) -> Result<Vec<String>, ModelError> {
    let (file, config) = config(folder)?;
    config.labels().map_err(|message| ModelError::Invalid { file, message })
}

/// The configuration, and the file that it is in.
pub(crate) fn config(folder: &Path) -> Result<(PathBuf, Config), ModelError> {
    let (file, bytes) = read(folder, CONFIG)?;
    let text = String::from_utf8_lossy(&bytes);
    let config = Config::parse(&file, &text)?;
    Ok((file, config))
}

/// A file of the folder, whole.
pub(crate) fn read(folder: &Path, name: &'static str) -> Result<(PathBuf, Vec<u8>), ModelError> {
    if !folder.is_dir() {
        return Err(ModelError::NoFolder { folder: folder.to_owned() });
    }
    let file = folder.join(name);
    match std::fs::read(&file) {
        Ok(bytes) => Ok((file, bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ModelError::Missing { folder: folder.to_owned(), file: name, hint: hint(name) })
        }
        Err(source) => Err(ModelError::Read { file, source }),
    }
}

/// How to come by a file that some published models lack.
fn hint(name: &str) -> &'static str {
    match name {
        TOKENIZER => {
            "where a model has only vocab.json and merges.txt, AutoTokenizer.from_pretrained(..).save_pretrained(..) makes it"
        }
        WEIGHTS => {
            "where a model has only pytorch_model.bin, from_pretrained(..).save_pretrained(.., safe_serialization=True) makes it"
        }
        _ => "is this the folder of a model?",
    }
}
