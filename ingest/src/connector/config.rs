//! `[connectors.NAME]`: what is configured, checked, and made a connector.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize};
use tideline_common::time::Span;

use super::Feed;
use super::api::{Api, ApiConfig, Reading};
use super::auth::{Auth, ClientCredentials};
use super::budget::Rate;
use super::filter::Filter;
use super::instagram::HashtagMedia;
use super::mentions::Mentions;
use super::message::Messages;
use super::reddit::Comments;
use super::runner::{Parts, Runner, Surroundings};
use super::secret::Secret;
use super::status::StatusCell;
use super::stocks::{Bars, DELAY, DELAY_MAX, Interval};
use super::tmdb::Trending;
use super::twitter::{QUERY_MAX, RecentSearch};

/// Which API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Trending movies.
    Tmdb,
    /// Comments of a subreddit.
    Reddit,
    /// Recent posts.
    Twitter,
    /// Media of hashtags.
    Instagram,
    /// Prices.
    Stocks,
}

/// The form of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As the API's own topic has them.
    #[default]
    Native,
    /// Messages of customers, as `sentiment.raw` has them.
    Message,
}

/// `[connectors.NAME]`. Which keys there must and may be depends on `kind`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorConfig {
    /// Which API.
    pub kind: Kind,
    /// Topic that records are appended to.
    pub topic: String,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Address of the API, when it is not the public one.
    pub base: Option<String>,
    /// Reddit: address that gives tokens, when it is not the public one.
    pub token_url: Option<String>,
    /// TMDB: the key.
    pub api_key: Option<Secret>,
    /// TMDB, X, Instagram: the token.
    pub token: Option<Secret>,
    /// Reddit, and X without `token`: the application.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// Who is asking, in words.
    pub user_agent: Option<String>,
    /// From poll to poll.
    #[serde(default, deserialize_with = "span")]
    pub every: Option<Span>,
    /// From the beginning of a request to the end of its answer.
    #[serde(default, deserialize_with = "span")]
    pub timeout: Option<Span>,
    /// The budget, such as `60/1m`.
    pub rate: Option<String>,
    /// Words of which a record must have one.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// Languages (ISO 639-1) of which it must be in one.
    #[serde(default)]
    pub languages: Vec<String>,
    /// Whether the first poll ever leaves out what was there before it.
    pub skip_existing: Option<bool>,
    /// Form of records.
    #[serde(default)]
    pub form: Form,
    /// Messages: product → words that a post about it has.
    #[serde(default)]
    pub products: BTreeMap<String, Vec<String>>,
    /// Messages: the city of posts that do not tell theirs.
    pub city: Option<String>,
    /// Reddit: the subreddit.
    pub subreddit: Option<String>,
    /// Reddit: the topic whose titles are looked for in comments, for `movie_mentions`.
    pub titles_topic: Option<String>,
    /// Reddit: the field of its records that has the title.
    pub titles_field: Option<String>,
    /// X: the query, instead of one made of `keywords` and `languages`.
    pub query: Option<String>,
    /// Instagram: the hashtags, with or without `#`.
    #[serde(default)]
    pub hashtags: Vec<String>,
    /// Instagram: number of the professional account that asks.
    pub user_id: Option<String>,
    /// Stocks: the symbols.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// Stocks: length of a bar.
    pub interval: Option<String>,
    /// Stocks: after so long a bar is over that nothing follows.
    #[serde(default, deserialize_with = "span")]
    pub delay: Option<Span>,
    /// TMDB: pages of 20 movies.
    pub pages: Option<u32>,
    /// The longest answer, in bytes.
    #[serde(default = "body_bytes")]
    pub max_body_bytes: usize,
    /// First wait before something that failed is tried again.
    #[serde(default = "retry_initial", deserialize_with = "some_span")]
    pub retry_initial: Span,
    /// Longest wait before something that failed is tried again.
    #[serde(default = "retry_max", deserialize_with = "some_span")]
    pub retry_max: Span,
    /// Attempts at one request.
    #[serde(default = "attempts")]
    pub attempts: u32,
}

const fn yes() -> bool {
    true
}

const fn body_bytes() -> usize {
    8 << 20
}

const fn retry_initial() -> Span {
    Span::SECOND
}

const fn retry_max() -> Span {
    Span::MINUTE
}

const fn attempts() -> u32 {
    5
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    some_span(deserializer).map(Some)
}

fn some_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    Span::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// What a kind has when nothing else is said.
struct Defaults {
    base: &'static str,
    every: Span,
    timeout: Span,
    rate: Option<Rate>,
}

impl Kind {
    const fn defaults(self) -> Defaults {
        let (base, every, rate) = match self {
            // TMDB allows some 40 requests a second; a poll needs one.
            Self::Tmdb => {
                ("https://api.themoviedb.org/3", Span::from_secs(300), Some(Rate::new(40, Span::from_secs(10))))
            }
            Self::Reddit => ("https://oauth.reddit.com", Span::from_secs(10), Some(Rate::new(60, Span::MINUTE))),
            Self::Twitter => ("https://api.x.com", Span::from_secs(30), Some(Rate::new(300, Span::from_secs(900)))),
            // 200 requests an hour and user; with more than a hashtag or two polls are further apart.
            Self::Instagram => ("https://graph.facebook.com/v23.0", Span::MINUTE, Some(Rate::new(200, Span::HOUR))),
            Self::Stocks => ("https://query1.finance.yahoo.com", Span::MINUTE, Some(Rate::new(60, Span::MINUTE))),
        };
        Defaults { base, every, timeout: Span::from_secs(10), rate }
    }

    /// Keys that not every kind has, and those that have them.
    const KEYS: [(&'static str, &'static [Self]); 19] = [
        ("token_url", &[Self::Reddit, Self::Twitter]),
        ("api_key", &[Self::Tmdb]),
        ("token", &[Self::Tmdb, Self::Twitter, Self::Instagram]),
        ("client_id", &[Self::Reddit, Self::Twitter]),
        ("client_secret", &[Self::Reddit, Self::Twitter]),
        ("keywords", &[Self::Tmdb, Self::Reddit, Self::Twitter, Self::Instagram]),
        ("languages", &[Self::Tmdb, Self::Reddit, Self::Twitter, Self::Instagram]),
        ("skip_existing", &[Self::Reddit, Self::Twitter, Self::Instagram, Self::Stocks]),
        ("products", &[Self::Reddit, Self::Twitter, Self::Instagram]),
        ("city", &[Self::Reddit, Self::Twitter, Self::Instagram]),
        ("subreddit", &[Self::Reddit]),
        ("titles_topic", &[Self::Reddit]),
        ("titles_field", &[Self::Reddit]),
        ("query", &[Self::Twitter]),
        ("hashtags", &[Self::Instagram]),
        ("user_id", &[Self::Instagram]),
        ("symbols", &[Self::Stocks]),
        ("interval", &[Self::Stocks]),
        ("delay", &[Self::Stocks]),
    ];
}

/// A connector that cannot be made: which key, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connectors.{name}.{key}: {reason}")]
pub struct ConnectorError {
    name: String,
    key: &'static str,
    reason: String,
}

/// Symbols of one connector at most: each is a request per poll.
const SYMBOLS_MAX: usize = 500;
/// Different hashtags that one account may ask for within seven days.
const HASHTAGS_MAX: usize = 30;

/// What a configuration says, read.
struct Reader<'a> {
    name: &'a str,
    config: &'a ConnectorConfig,
}

type Made<T> = Result<T, ConnectorError>;

impl ConnectorConfig {
    /// Looks whether a connector can be made of this.
    ///
    /// # Errors
    /// The first key that is missing, that this kind does not have, or whose value is wrong.
    pub fn check(&self, name: &str) -> Result<(), ConnectorError> {
        let reader = Reader { name, config: self };
        reader.feed()?;
        reader.auth()?;
        reader.api()?;
        reader.filter()?;
        reader.titles()?;
        Ok(())
    }

    /// Makes the connector.
    ///
    /// # Errors
    /// As [`ConnectorConfig::check`]; no HTTP client.
    pub fn connector(&self, name: &str, around: Surroundings) -> Result<Runner, ConnectorError> {
        let reader = Reader { name, config: self };
        let reading: Reading = if self.kind == Kind::Instagram { HashtagMedia::reading } else { |_, _, _| None };
        let api = Api::new(reader.api()?, reader.auth()?, around.time.clone(), reading)
            .map_err(|error| reader.wrong("base", error.to_string()))?;
        let parts = Parts {
            name: name.to_owned(),
            topic: self.topic.clone(),
            every: reader.every()?,
            feed: reader.feed()?,
            api,
            filter: reader.filter()?,
            mentions: reader
                .titles()?
                .map(|(topic, field)| Mentions::new(Arc::clone(&around.log), topic, field, (around.titles)())),
            retry_initial: self.retry_initial,
            retry_max: self.retry_max,
            status: StatusCell::new(name, self.kind, &self.topic),
        };
        Ok(Runner::new(parts, around))
    }
}

impl Reader<'_> {
    fn wrong(&self, key: &'static str, reason: impl Into<String>) -> ConnectorError {
        ConnectorError { name: self.name.to_owned(), key, reason: reason.into() }
    }

    fn text<'b>(&self, key: &'static str, value: Option<&'b String>) -> Made<&'b str> {
        match value.map(|value| value.trim()) {
            None => Err(self.wrong(key, format!("kind = \"{}\" needs it", self.kind()))),
            Some("") => Err(self.wrong(key, "it is empty")),
            Some(value) => Ok(value),
        }
    }

    fn secret(&self, key: &'static str, value: Option<&Secret>) -> Made<Secret> {
        match value {
            None => Err(self.wrong(key, format!("kind = \"{}\" needs it", self.kind()))),
            Some(value) if value.is_empty() => Err(self.wrong(key, "it is empty")),
            // A header takes nothing else, and a line's end comes with many a file.
            Some(value) => Ok(Secret::new(value.expose().trim())),
        }
    }

    fn kind(&self) -> &'static str {
        match self.config.kind {
            Kind::Tmdb => "tmdb",
            Kind::Reddit => "reddit",
            Kind::Twitter => "twitter",
            Kind::Instagram => "instagram",
            Kind::Stocks => "stocks",
        }
    }

    /// Keys that are there and that this kind does not have.
    fn strangers(&self) -> Made<()> {
        let config = self.config;
        let given = |key: &str| match key {
            "token_url" => config.token_url.is_some(),
            "api_key" => config.api_key.is_some(),
            "token" => config.token.is_some(),
            "client_id" => config.client_id.is_some(),
            "client_secret" => config.client_secret.is_some(),
            "keywords" => !config.keywords.is_empty(),
            "languages" => !config.languages.is_empty(),
            "skip_existing" => config.skip_existing.is_some(),
            "products" => !config.products.is_empty(),
            "city" => config.city.is_some(),
            "subreddit" => config.subreddit.is_some(),
            "titles_topic" => config.titles_topic.is_some(),
            "titles_field" => config.titles_field.is_some(),
            "query" => config.query.is_some(),
            "hashtags" => !config.hashtags.is_empty(),
            "user_id" => config.user_id.is_some(),
            "symbols" => !config.symbols.is_empty(),
            "interval" => config.interval.is_some(),
            "delay" => config.delay.is_some(),
            _ => false,
        };
        for (key, kinds) in Kind::KEYS {
            if given(key) && !kinds.contains(&config.kind) {
                return Err(self.wrong(key, format!("kind = \"{}\" has no such key", self.kind())));
            }
        }
        if config.pages.is_some() && config.kind != Kind::Tmdb {
            return Err(self.wrong("pages", format!("kind = \"{}\" has no such key", self.kind())));
        }
        if config.form == Form::Message && matches!(config.kind, Kind::Tmdb | Kind::Stocks) {
            return Err(self.wrong("form", format!("kind = \"{}\" has no messages", self.kind())));
        }
        Ok(())
    }

    /// An address that credentials may go to.
    fn url(&self, key: &'static str, value: &str) -> Made<Url> {
        let url = Url::parse(value.trim()).map_err(|error| self.wrong(key, format!("`{value}`: {error}")))?;
        let host = url.host_str().unwrap_or_default();
        let own = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => Ok(url),
            "http" if own => Ok(url),
            "http" => Err(self.wrong(key, format!("`{value}`: credentials go over https, or stay on this machine"))),
            _ => Err(self.wrong(key, format!("`{value}`: an address begins with https://"))),
        }
    }

    fn base(&self) -> Made<Url> {
        self.url("base", self.config.base.as_deref().unwrap_or(self.config.kind.defaults().base))
    }

    fn rate(&self) -> Made<Option<Rate>> {
        match &self.config.rate {
            Some(rate) => {
                rate.parse().map(Some).map_err(|error: super::budget::RateError| self.wrong("rate", error.to_string()))
            }
            None => Ok(self.config.kind.defaults().rate),
        }
    }

    /// From poll to poll: as configured, or by default as often as the budget lasts for.
    fn every(&self) -> Made<Span> {
        let (config, defaults) = (self.config, self.config.kind.defaults());
        if let Some(every) = config.every {
            return Ok(every);
        }
        let (Kind::Instagram, Some(rate)) = (config.kind, self.rate()?) else { return Ok(defaults.every) };
        // A poll of a hashtag with news is two requests: a page that has some, and one that has none. A tenth of the budget is its burst.
        let requests = 2.0 * config.hashtags.len() as f64 / (0.9 * f64::from(rate.requests));
        let seconds = (requests * rate.window.micros() as f64 / 1e6 - 1e-6).ceil();
        Ok(Span::from_secs(seconds as i64).clamp(defaults.every, Span::DAY))
    }

    fn api(&self) -> Made<ApiConfig> {
        let (config, defaults) = (self.config, self.config.kind.defaults());
        if config.topic.trim().is_empty() {
            return Err(self.wrong("topic", "it is empty"));
        }
        let rate = self.rate()?;
        let (every, timeout) = (self.every()?, config.timeout.unwrap_or(defaults.timeout));
        if every < Span::SECOND || every > Span::DAY {
            return Err(self.wrong("every", "it must be between 1s and 1d"));
        }
        if timeout <= Span::ZERO || timeout > Span::from_secs(120) {
            return Err(self.wrong("timeout", "it must be longer than nothing and at most 2m"));
        }
        if config.retry_max < config.retry_initial || config.retry_max > Span::HOUR {
            return Err(self.wrong("retry_max", "it must be at least retry_initial, and at most 1h"));
        }
        if !(1..=20).contains(&config.attempts) {
            return Err(self.wrong("attempts", "it must be between 1 and 20"));
        }
        if !(1 << 10..=256 << 20).contains(&config.max_body_bytes) {
            return Err(self.wrong("max_body_bytes", "it must be between 1 KiB and 256 MiB"));
        }
        let user_agent = match (&config.user_agent, config.kind) {
            (Some(agent), _) if !agent.trim().is_empty() => agent.trim().to_owned(),
            // Reddit blocks those that do not say who they are.
            (_, Kind::Reddit) => {
                return Err(self.wrong(
                    "user_agent",
                    "Reddit wants to know who is asking: \"<platform>:<app id>:<version> (by /u/<user name>)\"",
                ));
            }
            _ => concat!("tideline/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        if user_agent.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(self.wrong("user_agent", "only printable ASCII characters"));
        }
        Ok(ApiConfig {
            name: self.name.to_owned(),
            user_agent,
            timeout,
            max_body_bytes: config.max_body_bytes,
            rate,
            retry_initial: config.retry_initial,
            retry_max: config.retry_max,
            attempts: config.attempts,
        })
    }

    fn auth(&self) -> Made<Auth> {
        let config = self.config;
        match config.kind {
            Kind::Stocks => Ok(Auth::None),
            Kind::Tmdb => match (&config.api_key, &config.token) {
                (Some(_), Some(_)) => Err(self.wrong("api_key", "either api_key or token, not both")),
                (None, token @ Some(_)) => Ok(Auth::Bearer(self.secret("token", token.as_ref())?)),
                (key, None) => Ok(Auth::Query { name: "api_key", key: self.secret("api_key", key.as_ref())? }),
            },
            Kind::Instagram => {
                Ok(Auth::Query { name: "access_token", key: self.secret("token", config.token.as_ref())? })
            }
            Kind::Twitter if config.client_id.is_none() => {
                Ok(Auth::Bearer(self.secret("token", config.token.as_ref())?))
            }
            Kind::Twitter if config.token.is_some() => {
                Err(self.wrong("token", "either token, or client_id and client_secret, not both"))
            }
            Kind::Twitter => {
                let base = self.base()?;
                let own = super::below(&base, &["oauth2", "token"]);
                self.application(own)
            }
            Kind::Reddit => {
                let public = self.url("token_url", "https://www.reddit.com/api/v1/access_token")?;
                self.application(public)
            }
        }
    }

    fn application(&self, token_url: Url) -> Made<Auth> {
        let config = self.config;
        let token_url = match &config.token_url {
            Some(url) => self.url("token_url", url)?,
            None => token_url,
        };
        let id = self.text("client_id", config.client_id.as_ref())?.to_owned();
        let secret = self.secret("client_secret", config.client_secret.as_ref())?;
        Ok(Auth::ClientCredentials(ClientCredentials::new(token_url, id, secret)))
    }

    fn filter(&self) -> Made<Filter> {
        let config = self.config;
        if let Some(bad) = config.languages.iter().find(|language| {
            let language = language.trim();
            language.len() != 2 || !language.chars().all(|c| c.is_ascii_alphabetic())
        }) {
            return Err(self.wrong("languages", format!("`{bad}`: a language is two letters, such as en")));
        }
        let filter = Filter::new(&config.keywords, &config.languages)
            .map_err(|error| self.wrong("keywords", error.to_string()))?;
        if config.kind != Kind::Twitter || config.query.is_some() {
            return Ok(filter);
        }
        // X has looked for them already, and finds them where the text alone does not tell: in links, in what is cut off.
        Filter::new(&[], &config.languages).map_err(|error| self.wrong("languages", error.to_string()))
    }

    /// Topic and field of the titles that comments may mention.
    fn titles(&self) -> Made<Option<(String, String)>> {
        let config = self.config;
        if config.titles_topic.is_none() && config.titles_field.is_none() {
            return Ok(None);
        }
        if config.form == Form::Message {
            return Err(self.wrong("titles_topic", "messages have no movie_mentions"));
        }
        let topic = self.text("titles_topic", config.titles_topic.as_ref())?.to_owned();
        let field = match &config.titles_field {
            Some(_) => self.text("titles_field", config.titles_field.as_ref())?,
            None => "title",
        };
        Ok(Some((topic, field.to_owned())))
    }

    fn messages(&self, platform: &'static str) -> Made<Messages> {
        Messages::new(platform, &self.config.products, self.config.city.clone())
            .map_err(|error| self.wrong("products", error.to_string()))
    }

    fn wanted_messages(&self, platform: &'static str) -> Made<Option<Messages>> {
        match self.config.form {
            Form::Message => self.messages(platform).map(Some),
            Form::Native if self.config.products.is_empty() && self.config.city.is_none() => Ok(None),
            Form::Native => Err(self.wrong("form", "products and city are of form = \"message\"")),
        }
    }

    fn feed(&self) -> Made<Box<dyn Feed>> {
        self.strangers()?;
        let (config, base) = (self.config, self.base()?);
        let skip = config.skip_existing.unwrap_or(true);
        Ok(match config.kind {
            Kind::Tmdb => {
                let pages = config.pages.unwrap_or(1);
                if !(1..=25).contains(&pages) {
                    return Err(self.wrong("pages", "it must be between 1 and 25"));
                }
                Box::new(Trending::new(base, pages))
            }
            Kind::Reddit => {
                let subreddit = self.text("subreddit", config.subreddit.as_ref())?;
                let subreddit = subreddit.strip_prefix("r/").unwrap_or(subreddit);
                if !subreddit.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '+') {
                    return Err(
                        self.wrong("subreddit", format!("`{subreddit}` is no subreddit, nor several joined with +"))
                    );
                }
                Box::new(Comments::new(base, subreddit.to_owned(), skip, self.wanted_messages("reddit")?))
            }
            Kind::Twitter => {
                let query = match &config.query {
                    Some(_) => self.text("query", config.query.as_ref())?.to_owned(),
                    None if config.keywords.is_empty() => {
                        return Err(self.wrong("query", "there must be a query, or keywords to make one of"));
                    }
                    None => RecentSearch::query(&config.keywords, &config.languages),
                };
                if query.len() > QUERY_MAX {
                    return Err(self.wrong("query", format!("it has {} bytes; X takes {QUERY_MAX}", query.len())));
                }
                Box::new(RecentSearch::new(base, query, skip, self.wanted_messages("twitter")?))
            }
            Kind::Instagram => {
                let user = self.text("user_id", config.user_id.as_ref())?.to_owned();
                let hashtags: Vec<String> =
                    config.hashtags.iter().map(|tag| tag.trim().trim_start_matches('#').to_owned()).collect();
                if hashtags.is_empty() || hashtags.len() > HASHTAGS_MAX || hashtags.iter().any(String::is_empty) {
                    return Err(
                        self.wrong("hashtags", format!("there must be 1 to {HASHTAGS_MAX} of them, none empty"))
                    );
                }
                Box::new(HashtagMedia::new(base, user, hashtags, skip, self.messages("instagram")?))
            }
            Kind::Stocks => {
                let symbols = &config.symbols;
                let fits = |symbol: &String| {
                    (1..=20).contains(&symbol.len())
                        && symbol.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '^' | '='))
                };
                if symbols.is_empty() || symbols.len() > SYMBOLS_MAX || !symbols.iter().all(fits) {
                    return Err(self
                        .wrong("symbols", format!("there must be 1 to {SYMBOLS_MAX} of them, such as TSLA or BRK-B")));
                }
                let interval: Interval = config
                    .interval
                    .as_deref()
                    .unwrap_or("1m")
                    .parse()
                    .map_err(|error: super::stocks::IntervalError| self.wrong("interval", error.to_string()))?;
                let delay = config.delay.unwrap_or(DELAY);
                if delay < Span::ZERO || delay > DELAY_MAX {
                    return Err(self.wrong("delay", format!("it must be between 0s and {DELAY_MAX}")));
                }
                Box::new(Bars::new(base, symbols.clone(), interval, delay, skip))
            }
        })
    }
}
