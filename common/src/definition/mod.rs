//! The definition file.
