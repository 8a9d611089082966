//! Pure text analytics: what a text says, computed from the text alone.
//!
//! # Layout
//!
//! - [`vader`]: sentiment scores equal to those of the Python reference vaderSentiment 3.3.2.
//! - [`label()`]: the sentiment class of a compound score.
//! - [`cashtags()`]: the `$SYMBOL`s of a text.
//! - [`titles`]: mentions of known titles in a text.
//! - `word`: which characters words are made of, for the boundaries of the last two.
//!
//! # What it must never know
//!
//! Other crates of the workspace, Polars, files, the network, clocks. Each function is deterministic: the same
//! text gives the same answer in the speed layer, in the batch layer and in a query, in any order and on any
//! thread. Time is linear in the text (`n log n` at worst), so that a hostile text cannot stall a task.

pub mod cashtags;
pub mod label;
pub mod titles;
pub mod vader;
mod word;

pub use cashtags::{cashtags, every_cashtag};
pub use label::label;
pub use titles::TitleMatcher;
