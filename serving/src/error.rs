//! Why a query has no answer.

use std::fmt;

use tideline_common::ports::PortError;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A view.
    View,
    /// A lookup.
    Lookup,
    /// A report.
    Report,
    /// A topic.
    Topic,
    /// A prediction.
    Prediction,
    /// An output.
    Output,
    /// An alert.
    Alert,
    /// A batch run.
    Run,
}

impl Thing {
    /// Its name in addresses of problems and in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Lookup => "lookup",
            Self::Report => "report",
            Self::Topic => "topic",
            Self::Prediction => "prediction",
            Self::Output => "output",
            Self::Alert => "alert",
            Self::Run => "run",
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a query has no answer. The first three are the caller's doing, the others are not.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is nothing of this name.
    #[error("there is no {thing} `{name}`{}", suggest(.suggestion.as_deref()))]
    Unknown {
        /// What was looked for.
        thing: Thing,
        /// The name that was asked for.
        name: String,
        /// A known name that is close to it.
        suggestion: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// A parameter makes no sense.
    #[error("{parameter}: {message}")]
    Parameter {
        /// Its name.
        parameter: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// The query is understood, but needs more work than one request may cause.
    #[error("{message}")]
    TooMuch {
        /// What it would need, and how to ask for less.
        message: String,
    },
    /// The report is declared, and no batch run has published it yet.
    #[error("report `{report}` has not been published yet: the next batch run does it")]
    NotPublished {
        /// The report.
        report: String,
    },
    /// No part of the answer can be had now.
    #[error("{what} cannot be reached now")]
    Unavailable {
        /// Which layer.
        what: &'static str,
    },
    /// It took too long.
    #[error("the query took longer than {seconds} s; ask for a key, a shorter time range or a smaller limit")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
    /// A bug or damaged data: logged, never shown.
    #[error("{what}")]
    Internal {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn suggest(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl QueryError {
    /// A [`QueryError::Parameter`].
    pub fn parameter(parameter: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Parameter { parameter: parameter.into(), message: message.to_string() }
    }

    /// A [`QueryError::Unknown`] that suggests the closest of the known names.
    pub fn unknown(thing: Thing, name: &str, known: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let known: Vec<String> = known.into_iter().map(Into::into).collect();
        let suggestion = tideline_common::formula::suggest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Self::Unknown { thing, name: name.to_owned(), suggestion, known }
    }

    /// A failed port, where no part of an answer can do without it.
    pub fn port(what: &'static str, error: PortError) -> Self {
        if error.is_retryable() {
            tracing::warn!(%error, what, "a query found a layer unavailable");
            Self::Unavailable { what }
        } else {
            Self::Internal { what, source: error.into() }
        }
    }
}
