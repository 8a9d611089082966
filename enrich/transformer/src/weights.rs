//! `model.safetensors`: tensors by name, checked against the configuration before they are used.

use std::path::Path;

use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Embedding, LayerNorm};

use crate::ModelError;
use crate::linear::Linear;

/// The tensors of a file. Those that are taken are copied, as floats of 32 bits.
pub(crate) struct Weights<'a> {
    file: &'a Path,
    tensors: SliceSafetensors<'a>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(file: &'a Path, bytes: &'a [u8]) -> Result<Self, ModelError> {
        let tensors = SliceSafetensors::new(bytes).map_err(|error| invalid(file, &error))?;
        Ok(Self { file, tensors })
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, ModelError> {
        let missing = |_| ModelError::NoTensor { file: self.file.to_owned(), tensor: name.to_owned() };
        Ok(self.tensors.get(name).map_err(missing)?.shape().to_vec())
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let found = self.shape(name)?;
        if found != shape {
            let (file, tensor) = (self.file.to_owned(), name.to_owned());
            return Err(ModelError::Shape { file, tensor, expected: shape.to_vec(), found });
        }
        let tensor = self.tensors.load(name, &Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F32));
        tensor.map_err(|error| invalid(self.file, &error))
    }

    /// `name.weight` and `name.bias` of a layer from `from` to `to`.
    pub(crate) fn linear(&self, name: &str, from: usize, to: usize) -> Result<Linear, ModelError> {
        let weight = self.get(&format!("{name}.weight"), &[to, from])?;
        let bias = self.get(&format!("{name}.bias"), &[to])?;
        Linear::new(&weight, bias).map_err(|error| invalid(self.file, &error))
    }

    /// `name.weight` and `name.bias` of a norm over `size`.
    pub(crate) fn norm(&self, name: &str, size: usize, epsilon: f64) -> Result<LayerNorm, ModelError> {
        let weight = self.get(&format!("{name}.weight"), &[size])?;
        Ok(LayerNorm::new(weight, self.get(&format!("{name}.bias"), &[size])?, epsilon))
    }

    /// `name.weight`: a row of `size` for each of `count`.
    pub(crate) fn embedding(&self, name: &str, count: usize, size: usize) -> Result<Embedding, ModelError> {
        Ok(Embedding::new(self.get(&format!("{name}.weight"), &[count, size])?, size))
    }
}

fn invalid(file: &Path, error: &candle_core::Error) -> ModelError {
    ModelError::Invalid { file: file.to_owned(), message: error.to_string() }
}
