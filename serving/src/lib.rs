//! The serving layer: boundary, merge, HTTP API
