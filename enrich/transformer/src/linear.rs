//! A layer of sums: each of what comes out is a weighted sum of all that goes in.

use candle_core::{Result, Tensor};

/// Weights, one column for each of what comes out, and what is added.
#[derive(Debug)]
pub(crate) struct Linear {
    columns: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Of weights with a row for each of what comes out, as models store them.
    ///
    /// They are turned around in memory, not only in the shape: where both factors lie along the sum, candle's matrix product
    /// (gemm) takes small ones by another path, with another order of the sum, so that the rows of a batch would
    /// decide the last bits.
    pub(crate) fn new(rows: &Tensor, bias: Tensor) -> Result<Self> {
        Ok(Self { columns: rows.t()?.contiguous()?, bias })
    }

    /// Over the last dimension of `states`, which has three.
    pub(crate) fn forward(&self, states: &Tensor) -> Result<Tensor> {
        let (count, length, size) = states.dims3()?;
        let sums = states.reshape((count * length, size))?.matmul(&self.columns)?.broadcast_add(&self.bias)?;
        sums.reshape((count, length, ()))
    }
}
