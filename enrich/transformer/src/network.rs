//! The arithmetic of `RoBERTa` for sequence classification.
//!
//! As `RobertaForSequenceClassification` of transformers, without what only training needs.

use std::path::Path;

use candle_core::{Device, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{Embedding, LayerNorm};

use crate::ModelError;
use crate::batch::Batch;
use crate::config::{Activation, Config};
use crate::linear::Linear;
use crate::weights::Weights;

/// Embeddings, layers, head.
pub(crate) struct Network {
    words: Embedding,
    positions: Embedding,
    /// The embedding of the only type that tokens of one text have.
    kind: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head: Head,
}

impl Network {
    pub(crate) fn new(
        config: &Config,
        config_file: &Path,
        weights: &Weights<'_>,
        labels: usize,
    ) -> std::result::Result<Self, ModelError> {
        let size = config.hidden_size;
        let embeddings = "roberta.embeddings";
        let kinds = weights.embedding(&format!("{embeddings}.token_type_embeddings"), config.type_vocab_size, size)?;
        let kind = kinds
            .embeddings()
            .narrow(0, 0, 1)
            .map_err(|error| ModelError::Invalid { file: config_file.to_owned(), message: error.to_string() })?;
        let activation = config.activation(config_file)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::new(config, activation, weights, &format!("roberta.encoder.layer.{index}")))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            words: weights.embedding(&format!("{embeddings}.word_embeddings"), config.vocab_size, size)?,
            positions: weights.embedding(
                &format!("{embeddings}.position_embeddings"),
                config.max_position_embeddings,
                size,
            )?,
            kind,
            norm: weights.norm(&format!("{embeddings}.LayerNorm"), size, config.layer_norm_eps)?,
            layers,
            head: Head::new(size, labels, weights)?,
        })
    }

    /// One logit per text of the batch and label.
    pub(crate) fn logits(&self, batch: &Batch, pad: u32) -> Result<Vec<Vec<f32>>> {
        let (count, length) = (batch.texts.len(), batch.length);
        let cpu = &Device::Cpu;
        let (mut ids, mut positions) = (Vec::with_capacity(count * length), Vec::with_capacity(count * length));
        let mut mask = Vec::with_capacity(count * length);
        for text in &batch.texts {
            let mut position = pad;
            for at in 0..length {
                let id = text.ids.get(at).copied().unwrap_or(pad);
                ids.push(id);
                // As transformers counts: a text that spells the token of padding has it at the place of padding.
                position += u32::from(id != pad);
                positions.push(if id == pad { pad } else { position });
                // Far enough below all others that nothing of padding is left after the softmax.
                mask.push(if at < text.ids.len() { 0.0 } else { f32::MIN });
            }
        }
        let ids = Tensor::from_vec(ids, (count, length), cpu)?;
        let positions = Tensor::from_vec(positions, (count, length), cpu)?;
        let mask = Tensor::from_vec(mask, (count, 1, 1, length), cpu)?;
        let embedded = self.words.forward(&ids)?.broadcast_add(&self.kind)?;
        let mut states = self.norm.forward(&(embedded + self.positions.forward(&positions)?)?)?;
        for layer in &self.layers {
            states = layer.forward(&states, &mask)?;
        }
        // Each alone: a product with one row is summed in another order than one with several.
        (0..count).map(|text| self.head.forward(&states.narrow(0, text, 1)?.narrow(1, 0, 1)?)).collect()
    }
}

/// Attention, then a feed-forward network; each adds to what it was given.
struct Layer {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: LayerNorm,
    activation: Activation,
    wide: Linear,
    narrow: Linear,
    norm: LayerNorm,
}

impl Layer {
    fn new(
        config: &Config,
        activation: Activation,
        weights: &Weights<'_>,
        name: &str,
    ) -> std::result::Result<Self, ModelError> {
        let (size, wide, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        Ok(Self {
            heads: config.num_attention_heads,
            query: weights.linear(&format!("{name}.attention.self.query"), size, size)?,
            key: weights.linear(&format!("{name}.attention.self.key"), size, size)?,
            value: weights.linear(&format!("{name}.attention.self.value"), size, size)?,
            attended: weights.linear(&format!("{name}.attention.output.dense"), size, size)?,
            attended_norm: weights.norm(&format!("{name}.attention.output.LayerNorm"), size, epsilon)?,
            activation,
            wide: weights.linear(&format!("{name}.intermediate.dense"), size, wide)?,
            narrow: weights.linear(&format!("{name}.output.dense"), wide, size)?,
            norm: weights.norm(&format!("{name}.output.LayerNorm"), size, epsilon)?,
        })
    }

    fn forward(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let attended = self.attended.forward(&self.attend(states, mask)?)?;
        let states = self.attended_norm.forward(&(attended + states)?)?;
        let wide = self.wide.forward(&states)?;
        let wide = match self.activation {
            Activation::Gelu => wide.gelu_erf()?,
            Activation::GeluTanh => wide.gelu()?,
            Activation::Relu => wide.relu()?,
        };
        self.norm.forward(&(self.narrow.forward(&wide)? + states)?)
    }

    /// What each token takes from all tokens of its text.
    fn attend(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (count, length, size) = states.dims3()?;
        let head_size = size / self.heads;
        let by_head = |layer: &Linear| -> Result<Tensor> {
            layer.forward(states)?.reshape((count, length, self.heads, head_size))?.transpose(1, 2)?.contiguous()
        };
        let (query, key, value) = (by_head(&self.query)?, by_head(&self.key)?, by_head(&self.value)?);
        let scores = (query.matmul(&key.t()?)? * (1.0 / (head_size as f64).sqrt()))?;
        let shares = softmax_last_dim(&scores.broadcast_add(mask)?)?;
        shares.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((count, length, size))
    }
}

/// From the first token to labels.
struct Head {
    dense: Linear,
    out: Linear,
}

impl Head {
    fn new(size: usize, labels: usize, weights: &Weights<'_>) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            dense: weights.linear("classifier.dense", size, size)?,
            out: weights.linear("classifier.out_proj", size, labels)?,
        })
    }

    /// The logits of one text by the state of its first token.
    fn forward(&self, first: &Tensor) -> Result<Vec<f32>> {
        let dense = self.dense.forward(&first.contiguous()?)?.tanh()?;
        self.out.forward(&dense)?.flatten_all()?.to_vec1()
    }
}
