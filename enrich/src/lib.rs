//! Pure text analytics: what a text says, computed from the text alone.
//!
//! # Layout
//!
//! - [`vader`]: sentiment scores equal to those of the Python reference vaderSentiment 3.3.2.
//! - [`label()`]: the sentiment class of a compound score.
//! - [`cashtags()`]: the `$SYMBOL`s of a text.
//! - [`titles`]: mentions of known titles in a text.
//! - [`mod@emotion`]: which of seven emotions a text shows, by a trained model.
//! - [`mod@toxicity`], [`churn`]: scores from 0 to 1, by lists of phrases.
//! - `word`: which characters words are made of, for the boundaries of cashtags and titles.
//! - `tokens`: words, punctuation and symbols as emotions and phrases see them; `phrases`: lists of these.
//! - `risk`: counts of phrases as a number from 0 to 1.
//!
//! # What it must never know
//!
//! Other crates of the workspace, Polars, files, the network, clocks. Each function is deterministic: the same
//! text gives the same answer in the speed layer, in the batch layer and in a query, in any order and on any
//! thread. Time is linear in the text (`n log n` at worst), so that a hostile text cannot stall a task.

pub mod cashtags;
pub mod churn;
pub mod emotion;
pub mod label;
mod phrases;
mod risk;
pub mod titles;
mod tokens;
pub mod toxicity;
pub mod vader;
mod word;

pub use cashtags::{cashtags, every_cashtag};
pub use churn::churn_risk;
pub use emotion::emotion;
pub use label::label;
pub use titles::TitleMatcher;
pub use toxicity::toxicity;
