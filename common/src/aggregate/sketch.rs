//! DDSketch: quantiles with a bound on their relative error.
//!
//! Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees",
//! PVLDB 12 (2019). A value x > 0 falls into bucket ⌈log_γ x⌉ with γ = (1 + α) / (1 − α); a bucket answers with
//! 2γ^i / (γ + 1), which is within α of every value in it. Negative values have buckets of their own, mirrored.
