//! What is configured wrongly is told with the key, before anything is asked of anybody.

use tideline_ingest::connector::config::ConnectorConfig;

const TMDB: &str = "kind = \"tmdb\"\ntopic = \"t\"\napi_key = \"k\"\n";
const REDDIT: &str = "kind = \"reddit\"\ntopic = \"t\"\nclient_id = \"a\"\nclient_secret = \"b\"\nsubreddit = \"movies\"\nuser_agent = \"x\"\n";
const TWITTER: &str = "kind = \"twitter\"\ntopic = \"t\"\ntoken = \"b\"\nkeywords = [\"tesla\"]\n";
const INSTAGRAM: &str = "kind = \"instagram\"\ntopic = \"t\"\ntoken = \"b\"\nuser_id = \"1\"\nhashtags = [\"coke\"]\n";
const STOCKS: &str = "kind = \"stocks\"\ntopic = \"t\"\nsymbols = [\"TSLA\"]\n";

fn read(text: &str) -> Result<ConnectorConfig, String> {
    let config: ConnectorConfig = toml::from_str(text).map_err(|error| error.to_string())?;
    config.check("mine").map_err(|error| error.to_string())?;
    Ok(config)
}

#[test]
fn each_kind_needs_little() {
    for text in [TMDB, REDDIT, TWITTER, INSTAGRAM, STOCKS] {
        read(text).unwrap();
    }
}

#[test]
fn mistakes_name_the_key() {
    let cases = [
        // Missing.
        ("kind = \"tmdb\"\ntopic = \"t\"".to_owned(), "connectors.mine.api_key: kind = \"tmdb\" needs it"),
        (
            "kind = \"reddit\"\ntopic = \"t\"\nsubreddit = \"m\"\nuser_agent = \"x\"".to_owned(),
            "client_id: kind = \"reddit\" needs it",
        ),
        (REDDIT.replace("user_agent", "#"), "connectors.mine.user_agent: Reddit wants to know"),
        (TWITTER.replace("keywords", "#"), "connectors.mine.query: there must be a query, or keywords"),
        (INSTAGRAM.replace("user_id", "#"), "connectors.mine.user_id: kind = \"instagram\" needs it"),
        (INSTAGRAM.replace("[\"coke\"]", "[\"#\"]"), "connectors.mine.hashtags"),
        (STOCKS.replace("[\"TSLA\"]", "[]"), "connectors.mine.symbols"),
        ("kind = \"tmdb\"".to_owned(), "missing field `topic`"),
        (TMDB.replace("\"t\"", "\" \""), "connectors.mine.topic: it is empty"),
        (TMDB.replace("\"k\"", "\"\""), "connectors.mine.api_key: it is empty"),
        // Another kind's.
        (format!("{TMDB}subreddit = \"movies\""), "connectors.mine.subreddit: kind = \"tmdb\" has no such key"),
        (format!("{STOCKS}keywords = [\"x\"]"), "connectors.mine.keywords: kind = \"stocks\" has no such key"),
        (format!("{REDDIT}pages = 2"), "connectors.mine.pages: kind = \"reddit\" has no such key"),
        (format!("{STOCKS}form = \"message\""), "connectors.mine.form: kind = \"stocks\" has no messages"),
        (format!("{REDDIT}city = \"Rome\""), "connectors.mine.form: products and city are of form = \"message\""),
        (format!("{TMDB}titles_topic = \"x\""), "connectors.mine.titles_topic: kind = \"tmdb\" has no such key"),
        (format!("{REDDIT}titles_field = \"x\""), "connectors.mine.titles_topic: kind = \"reddit\" needs it"),
        (format!("{REDDIT}titles_topic = \"x\"\nform = \"message\""), "connectors.mine.titles_topic: messages have no"),
        (format!("{TMDB}token = \"x\""), "connectors.mine.api_key: either api_key or token"),
        (format!("{TWITTER}client_id = \"x\""), "connectors.mine.token: either token, or client_id"),
        // Nobody's.
        (format!("{TMDB}apikey = \"k\""), "unknown field `apikey`"),
        (TMDB.replace("tmdb", "imdb"), "unknown variant `imdb`, expected one of `tmdb`"),
        // Wrong.
        (format!("{TMDB}every = \"5\""), "not a duration"),
        (format!("{TMDB}every = \"100ms\""), "connectors.mine.every: it must be between 1s and 1d"),
        (format!("{TMDB}timeout = \"3m\""), "connectors.mine.timeout"),
        (format!("{TMDB}rate = \"60\""), "connectors.mine.rate: `60` is not a budget"),
        (format!("{TMDB}retry_max = \"2h\""), "connectors.mine.retry_max"),
        (format!("{TMDB}attempts = 0"), "connectors.mine.attempts"),
        (format!("{TMDB}pages = 26"), "connectors.mine.pages"),
        (format!("{TMDB}max_body_bytes = 10"), "connectors.mine.max_body_bytes"),
        (format!("{TMDB}base = \"api.themoviedb.org\""), "connectors.mine.base"),
        (format!("{TMDB}base = \"ftp://x\""), "connectors.mine.base: `ftp://x`: an address begins with https://"),
        // A key must not cross a network that anybody reads.
        (
            format!("{TMDB}base = \"http://example.com/3\""),
            "connectors.mine.base: `http://example.com/3`: credentials go over https",
        ),
        (format!("{TMDB}languages = [\"english\"]"), "connectors.mine.languages: `english`"),
        (format!("{TMDB}keywords = [\"\"]"), "connectors.mine.keywords"),
        (format!("{TMDB}user_agent = \"ä\""), "connectors.mine.user_agent"),
        (format!("{STOCKS}interval = \"3m\""), "connectors.mine.interval: `3m` is not the length of a bar"),
        (format!("{STOCKS}delay = \"13h\""), "connectors.mine.delay: it must be between 0s and 12h"),
        (format!("{REDDIT}delay = \"1m\""), "connectors.mine.delay: kind = \"reddit\" has no such key"),
        (format!("{TWITTER}keywords = [\"\"]").replace("keywords = [\"tesla\"]\n", ""), "connectors.mine.keywords"),
        (STOCKS.replace("TSLA", "TS/LA"), "connectors.mine.symbols"),
        (REDDIT.replace("movies", "../me"), "connectors.mine.subreddit"),
        (format!("{}query = \"{}\"", TWITTER, "x".repeat(513)), "connectors.mine.query: it has 513 bytes"),
    ];
    for (text, part) in cases {
        let error = read(&text).expect_err(part);
        assert!(error.contains(part), "{error} instead of {part}");
    }
}

#[test]
fn unknown_keys_have_their_place() {
    let error = read("kind = \"tmdb\"\ntopic = \"t\"\n  keyword = [\"x\"]").unwrap_err();
    assert!(error.contains("line 3, column 3"), "{error}");
}

#[test]
fn secrets_are_not_printed() {
    for text in
        [TMDB.replace("\"k\"", "\"hush\""), REDDIT.replace("\"b\"", "\"hush\""), TWITTER.replace("\"b\"", "\"hush\"")]
    {
        let config = read(&text).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}

#[test]
fn servers_on_this_machine_may_do_without_tls() {
    for base in ["http://127.0.0.1:9000/3", "http://localhost:9000", "http://[::1]:80", "https://example.com"] {
        read(&format!("{TMDB}base = \"{base}\"")).unwrap();
    }
}
