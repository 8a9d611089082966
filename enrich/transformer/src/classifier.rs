//! Texts to probabilities of labels.

use std::fmt;
use std::path::{Path, PathBuf};

use tokenizers::{Tokenizer, TruncationParams};

use crate::ModelError;
use crate::batch::{Batch, Tokens, batches};
use crate::config::{Config, Scores};
use crate::folder::{self, TOKENIZER, WEIGHTS};
use crate::network::Network;
use crate::weights::Weights;

/// A model, loaded.
pub struct Classifier {
    folder: PathBuf,
    labels: Vec<String>,
    scores: Scores,
    pad: u32,
    max_tokens: usize,
    tokenizer: Tokenizer,
    network: Network,
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier").field("folder", &self.folder).field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl Classifier {
    /// Loads the model in `folder`: `config.json`, `tokenizer.json` and `model.safetensors`. Weights are kept as floats of 32
    /// bits, whatever they are stored as; while it loads there is the file in memory too.
    ///
    /// # Errors
    /// A file that is missing or damaged, a model of another kind, weights that do not fit the configuration.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let (config_file, config) = folder::config(folder)?;
        let labels = config.labels().map_err(|message| ModelError::Invalid { file: config_file.clone(), message })?;
        let tokenizer = tokenizer(folder, &config)?;
        let (file, bytes) = folder::read(folder, WEIGHTS)?;
        let weights = Weights::new(&file, &bytes)?;
        let shape = weights.shape("classifier.out_proj.weight")?;
        if let [found, _] = *shape
            && found != labels.len()
        {
            return Err(ModelError::LabelCount { file, expected: labels.len(), found });
        }
        let network = Network::new(&config, &config_file, &weights, labels.len())?;
        Ok(Self {
            folder: folder.to_owned(),
            scores: config.scores(&config_file)?,
            pad: config.pad_token_id,
            max_tokens: config.max_tokens(),
            labels,
            tokenizer,
            network,
        })
    }

    /// The labels, in the order of probabilities.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Tokens of a text that are read, those of its beginning and end included; what comes after them is not.
    pub const fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens of a text, as the model sees them.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoded = self.tokenizer.encode_fast(text, true).map_err(|error| self.failed(&error))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// For each text the probability of each label. The answer to a text does not depend on the others.
    ///
    /// # Errors
    /// A tokenizer that fails; weights that lead to no number.
    pub fn probabilities(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, ModelError> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            tokens.push(Tokens { index, ids: self.tokens(text)? });
        }
        let mut answers = vec![Vec::new(); texts.len()];
        for batch in batches(tokens) {
            for (text, answer) in batch.texts.iter().zip(self.batch(&batch)?) {
                answers[text.index] = answer;
            }
        }
        Ok(answers)
    }

    fn batch(&self, batch: &Batch) -> Result<Vec<Vec<f64>>, ModelError> {
        let logits = self.network.logits(batch, self.pad).map_err(|error| self.failed(&error))?;
        let answers: Vec<Vec<f64>> = logits.iter().map(|logits| probabilities(self.scores, logits)).collect();
        if answers.iter().flatten().any(|probability| !probability.is_finite()) {
            return Err(self.failed(&"the weights lead to a probability that is no number"));
        }
        Ok(answers)
    }

    fn failed(&self, error: &dyn fmt::Display) -> ModelError {
        ModelError::Compute { folder: self.folder.clone(), message: error.to_string() }
    }
}

/// Reads the tokenizer, and has it cut texts at what the model can take.
fn tokenizer(folder: &Path, config: &Config) -> Result<Tokenizer, ModelError> {
    let (file, bytes) = folder::read(folder, TOKENIZER)?;
    let invalid = |message: String| ModelError::Invalid { file: file.clone(), message };
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| invalid(error.to_string()))?;
    let cut = TruncationParams { max_length: config.max_tokens(), ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(|error| invalid(error.to_string()))?;
    tokenizer.with_padding(None);
    let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    if highest as usize >= config.vocab_size {
        let size = config.vocab_size;
        return Err(invalid(format!("it has a token {highest}, and config.json a vocab_size of {size}")));
    }
    let empty = tokenizer.encode_fast("", true).map_err(|error| invalid(error.to_string()))?;
    if empty.is_empty() {
        return Err(invalid("it has no post_processor that adds the tokens of a beginning and an end".to_owned()));
    }
    Ok(tokenizer)
}

fn probabilities(scores: Scores, logits: &[f32]) -> Vec<f64> {
    let logits = logits.iter().map(|logit| f64::from(*logit));
    match scores {
        Scores::Sigmoid => logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        Scores::Softmax => {
            let highest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = logits.map(|logit| (logit - highest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(|power| power / sum).collect()
        }
    }
}
