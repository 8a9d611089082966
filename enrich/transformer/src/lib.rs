//! `RoBERTa` models that classify texts, from a folder as Hugging Face gives it.
//!
//! # Layout
//!
//! - [`Classifier`]: texts → probabilities of labels. What is read of a folder: `folder`, `config`, `weights`.
//! - `network`, `linear`: the arithmetic of `RoBERTa`, on candle · `batch`: which texts are computed together
//! - [`ModelError`]: what is wrong, with the folder and the file
//! - `main.rs`: the program that Tideline starts for a model, and asks over its standard input
//!
//! # What it must never know
//!
//! Tideline: definitions, records, configuration, and Polars above all. It opens the files of one folder while it loads, and
//! nothing after that.
//!
//! # One text, one answer
//!
//! The layers must agree, so the answer to a text must not depend on the texts that are computed together with it. Sums of
//! floats depend on their order, and their order on the shape of what is multiplied. A text is padded to a length that
//! follows from its own tokens alone (the next multiple of eight), only texts of equal padded length share a batch, and the
//! head, which has one row per text, is computed for each alone. So all sums over a text have the same order in every
//! batch, and the answers are the same to the last bit on one machine. Between kinds of processors the last bits may differ.

mod batch;
mod classifier;
mod config;
mod error;
mod folder;
mod linear;
mod network;
mod weights;

pub use batch::{BATCH_TEXTS_MAX, BATCH_TOKENS_MAX};
pub use classifier::Classifier;
pub use error::ModelError;
pub use folder::{CONFIG, TOKENIZER, WEIGHTS, labels};
