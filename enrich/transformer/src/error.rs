//! What can be wrong with a model.

use std::path::PathBuf;

/// Why a model cannot be used. Every message names the folder or a file in it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such folder.
    #[error("{}: there is no such folder", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that every model has is missing.
    #[error("{}: there is no {file}: {hint}", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// Name of the file.
        file: &'static str,
        /// How to come by it.
        hint: &'static str,
    },
    /// A file that cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A model of another kind.
    #[error("{}: {message}; only RoBERTa and XLM-RoBERTa for sequence classification can be used", file.display())]
    Unsupported {
        /// The configuration.
        file: PathBuf,
        /// What it says.
        message: String,
    },
    /// Weights without a tensor.
    #[error("{}: there is no tensor `{tensor}`", file.display())]
    NoTensor {
        /// The weights.
        file: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor that does not fit the configuration.
    #[error("{}: tensor `{tensor}` has the shape {found:?} where config.json asks for {expected:?}", file.display())]
    Shape {
        /// The weights.
        file: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// What it should be.
        expected: Vec<usize>,
        /// What it is.
        found: Vec<usize>,
    },
    /// Labels and weights that are not of one model.
    #[error("{}: the weights tell {found} labels apart where config.json names {expected}", file.display())]
    LabelCount {
        /// The weights.
        file: PathBuf,
        /// Labels of the configuration.
        expected: usize,
        /// Labels of the weights.
        found: usize,
    },
    /// A text that cannot be computed.
    #[error("{}: {message}", folder.display())]
    Compute {
        /// The folder.
        folder: PathBuf,
        /// Why.
        message: String,
    },
}
