//! What a customer said somewhere, in the form of the topic `sentiment.raw`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};

use super::filter::{Keywords, KeywordsError};

/// What is said of a post.
#[derive(Clone, Debug)]
pub(super) struct Post<'a> {
    /// The API's own id, unique on its platform.
    pub id: &'a str,
    pub created_at: Timestamp,
    pub text: &'a str,
    pub author: Option<&'a str>,
    pub language: Option<&'a str>,
    /// Where it was written, as far as the API tells.
    pub place: Option<&'a str>,
}

/// What makes messages of posts.
#[derive(Clone, Debug)]
pub struct Messages {
    platform: &'static str,
    products: Vec<(String, Keywords)>,
    city: Option<String>,
}

impl Messages {
    /// Messages of `platform`. A post is about the first product (by name) of which it has a keyword; its city is where it
    /// was written, or `city` where that is not told.
    ///
    /// # Errors
    /// Keywords that cannot be looked for.
    pub fn new(
        platform: &'static str,
        products: &BTreeMap<String, Vec<String>>,
        city: Option<String>,
    ) -> Result<Self, KeywordsError> {
        let products = products
            .iter()
            .map(|(product, words)| {
                // A product without keywords is looked for by its name.
                let words = if words.is_empty() { vec![product.clone()] } else { words.clone() };
                Ok((product.clone(), Keywords::new(&words)?))
            })
            .collect::<Result<_, KeywordsError>>()?;
        Ok(Self { platform, products, city })
    }

    pub(super) fn message(&self, post: &Post<'_>) -> Json {
        let product = self.products.iter().find(|(_, words)| words.are_in(post.text)).map(|(product, _)| product);
        json!({
            "id": format!("{}-{}", self.platform, post.id),
            "created_at": post.created_at.floor(Span::from_millis(1)).to_string(),
            "text": post.text,
            "city": post.place.map(str::to_owned).or_else(|| self.city.clone()),
            "product": product,
            "channel": "social",
            "platform": self.platform,
            "author": post.author,
            "language": post.language,
        })
    }
}

/// `YYYY-MM-DD HH:MM:SS` in UTC, whole seconds: as the pipelines' older topics have it.
pub(super) fn plain(time: Timestamp) -> String {
    time.floor(Span::SECOND).to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_post_is_about_the_first_product_that_it_names() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let products = BTreeMap::from([
            ("Aurora Phone".to_owned(), words(&["aurora phone", "#auroraphone"])),
            ("Harbor Pay".to_owned(), words(&[])),
        ]);
        let messages = Messages::new("twitter", &products, Some("Berlin".to_owned())).unwrap();
        let post = |text, place| Post {
            id: "17",
            created_at: Timestamp::parse("2026-01-05T12:00:00.123456Z").unwrap(),
            text,
            author: Some("9"),
            language: None,
            place,
        };
        let message = messages.message(&post("My #AuroraPhone pays with harbor pay", None));
        assert_eq!(
            message.to_string(),
            r#"{"id":"twitter-17","created_at":"2026-01-05T12:00:00.123Z","text":"My #AuroraPhone pays with harbor pay","city":"Berlin","product":"Aurora Phone","channel":"social","platform":"twitter","author":"9","language":null}"#
        );
        let message = messages.message(&post("HARBOR PAY!", Some("Rome")));
        assert_eq!((&message["product"], &message["city"]), (&json!("Harbor Pay"), &json!("Rome")));
        assert_eq!(messages.message(&post("something else", None))["product"], Json::Null);
    }

    #[test]
    fn plain_times_are_whole_seconds() {
        assert_eq!(plain(Timestamp::parse("2026-01-05T12:00:59.999Z").unwrap()), "2026-01-05 12:00:59");
    }
}
