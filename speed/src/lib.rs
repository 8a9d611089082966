//! The speed layer: consume, panes, watermark, Bronze chain, checkpoints
