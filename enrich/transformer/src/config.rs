//! `config.json`: what kind of model it is, its sizes and its labels.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::ModelError;

/// Kinds of models whose arithmetic is `RoBERTa`'s.
const KINDS: [&str; 2] = ["roberta", "xlm-roberta"];

/// The keys that are used; all others only matter to training.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) type_vocab_size: usize,
    pub(crate) layer_norm_eps: f64,
    #[serde(default = "pad")]
    pub(crate) pad_token_id: u32,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    problem_type: Option<String>,
    #[serde(default)]
    id2label: Option<BTreeMap<String, String>>,
}

const fn pad() -> u32 {
    1
}

fn gelu() -> String {
    "gelu".to_owned()
}

/// What is done between the two layers of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x · Φ(x).
    Gelu,
    /// The same with a hyperbolic tangent for Φ.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scores {
    /// One label is true: they add up to 1.
    Softmax,
    /// Each label is true or not.
    Sigmoid,
}

impl Config {
    /// Reads `text`, the content of `file`, and checks that the model can be computed.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ModelError> {
        let invalid = |message: String| ModelError::Invalid { file: file.to_owned(), message };
        // The kind first: a model of another one lacks other keys, which says less.
        let kind: Kind = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        kind.check(file)?;
        let config: Self = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        config.check_sizes().map_err(invalid)?;
        config.activation(file)?;
        config.scores(file)?;
        config.labels().map_err(invalid)?;
        if let Some(other) = config.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            let message = format!("position_embedding_type is {other:?}");
            return Err(ModelError::Unsupported { file: file.to_owned(), message });
        }
        Ok(config)
    }

    fn check_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("{name} is 0"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (size, heads) = (self.hidden_size, self.num_attention_heads);
            return Err(format!("hidden_size {size} does not divide into {heads} num_attention_heads"));
        }
        if self.max_tokens() < 8 {
            return Err(format!("max_position_embeddings {} leaves no room for a text", self.max_position_embeddings));
        }
        Ok(())
    }

    /// Tokens that a text may have: positions are counted from the one after that of padding.
    pub(crate) const fn max_tokens(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.pad_token_id as usize + 1)
    }

    /// What is done between the two layers of a feed-forward network.
    pub(crate) fn activation(&self, file: &Path) -> Result<Activation, ModelError> {
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => {
                Err(ModelError::Unsupported { file: file.to_owned(), message: format!("hidden_act is {other:?}") })
            }
        }
    }

    /// How logits become probabilities, as the pipeline `text-classification` of transformers has it.
    pub(crate) fn scores(&self, file: &Path) -> Result<Scores, ModelError> {
        match self.problem_type.as_deref() {
            Some("multi_label_classification") => Ok(Scores::Sigmoid),
            None | Some("single_label_classification") => {
                // One label alone is true or not.
                let one = self.id2label.as_ref().is_some_and(|labels| labels.len() == 1);
                Ok(if one { Scores::Sigmoid } else { Scores::Softmax })
            }
            Some(other) => {
                let message = format!("problem_type is {other:?}, which gives no probabilities");
                Err(ModelError::Unsupported { file: file.to_owned(), message })
            }
        }
    }

    /// The labels, in the order of the weights.
    pub(crate) fn labels(&self) -> Result<Vec<String>, String> {
        // Left out where it is what transformers takes for granted.
        let Some(names) = &self.id2label else { return Ok(vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()]) };
        let mut labels: Vec<String> = Vec::with_capacity(names.len());
        for index in 0..names.len() {
            let label = names.get(&index.to_string());
            let label = label.ok_or_else(|| format!("id2label has {} labels, but none for {index}", names.len()))?;
            if labels.contains(label) {
                return Err(format!("id2label has {label:?} twice"));
            }
            labels.push(label.clone());
        }
        if labels.is_empty() {
            return Err("id2label has no labels".to_owned());
        }
        Ok(labels)
    }
}

/// What tells the kind of a model.
#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
}

impl Kind {
    fn check(&self, file: &Path) -> Result<(), ModelError> {
        let unsupported = |message| Err(ModelError::Unsupported { file: file.to_owned(), message });
        match self.model_type.as_deref() {
            Some(kind) if KINDS.contains(&kind) => {}
            Some(other) => return unsupported(format!("model_type is {other:?}")),
            None => return unsupported("there is no model_type".to_owned()),
        }
        match self.architectures.as_deref() {
            Some([name, ..]) if !name.ends_with("ForSequenceClassification") => {
                unsupported(format!("its architecture is {name}"))
            }
            _ => Ok(()),
        }
    }
}
