//! Posts to webhooks, on their way.
//!
//! At least once: a post is forgotten when the other side has taken it, has refused it for good, or has not taken it in
//! [`CloseConfig::webhook_attempts`](super::CloseConfig) attempts. Whichever it was is counted. A restart sends again
//! what was not known to have been taken, under the same id, and counts its attempts anew.
//!
//! Alerts do not wait for each other: each has requests of its own, and a post has one only while it is being sent. How
//! often it was tried, and when it is to be tried again, is noted here meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tideline_common::ports::WebhookPost;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::consumer::Post;
use super::context::Context;

/// See the module. Dropped, requests end where they stand.
#[derive(Debug, Default)]
pub(super) struct Posts {
    requests: JoinSet<Outcome>,
    /// Which post each request is for: its alert, and its id.
    under_way: HashMap<Id, (String, String)>,
    /// Posts that are being tried, or were and are to be again, by id.
    tried: BTreeMap<String, Tried>,
}

/// How it stands with a post that was not taken yet.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    /// Attempts that have failed.
    failed: u32,
    /// When it is tried again; `None` while it is under way.
    next: Option<Instant>,
}

/// What has come of a request.
#[derive(Debug)]
enum Outcome {
    /// Nothing more is to be done.
    Over,
    /// It may be taken later, which the other side may have said when.
    Failed { reason: String, wanted: Option<Duration> },
}

impl Posts {
    /// Sends those of `posts` that are due, of each alert as many as may be under way at once.
    pub(super) fn start(&mut self, context: &Arc<Context>, posts: &[Post]) {
        let now = Instant::now();
        let mut at_once: BTreeMap<String, usize> = BTreeMap::new();
        for (alert, _) in self.under_way.values() {
            *at_once.entry(alert.clone()).or_default() += 1;
        }
        for post in posts {
            if at_once.get(&post.alert).is_some_and(|requests| *requests >= context.config.max_posts_at_once) {
                continue;
            }
            let failed = match self.tried.get(&post.id) {
                None => 0,
                Some(Tried { failed, next: Some(next) }) if *next <= now => *failed,
                Some(_) => continue,
            };
            self.tried.insert(post.id.clone(), Tried { failed, next: None });
            *at_once.entry(post.alert.clone()).or_default() += 1;
            let request = self.requests.spawn(send(Arc::clone(context), post.clone()));
            self.under_way.insert(request.id(), (post.alert.clone(), post.id.clone()));
        }
    }

    /// The ids of those that need no more to be done.
    pub(super) fn done(&mut self, context: &Context) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(ended) = self.requests.try_join_next_with_id() {
            let (request, outcome) = match ended {
                Ok(ended) => ended,
                Err(error) => (error.id(), Outcome::Failed { reason: error.to_string(), wanted: None }),
            };
            let Some((alert, id)) = self.under_way.remove(&request) else { continue };
            let over = match outcome {
                Outcome::Over => true,
                Outcome::Failed { reason, wanted } => self.failed(context, &alert, &id, &reason, wanted),
            };
            if over {
                self.tried.remove(&id);
                done.push(id);
            }
        }
        done
    }

    /// Notes an attempt that has failed. Says whether it was the last.
    fn failed(&mut self, context: &Context, alert: &str, id: &str, reason: &str, wanted: Option<Duration>) -> bool {
        tell(alert, "retried");
        let config = &context.config;
        let tried = self.tried.entry(id.to_owned()).or_default();
        let attempt = tried.failed;
        tried.failed += 1;
        if tried.failed >= config.webhook_attempts {
            tracing::error!(alert, id, reason, attempts = tried.failed, "an alert is given up: nobody took it");
            tell(alert, "given_up");
            return true;
        }
        let pause = config.webhook_pause(attempt, xxhash_rust::xxh3::xxh3_64(id.as_bytes()), wanted);
        tried.next = Some(Instant::now() + pause);
        tracing::warn!(alert, id, attempt, ?pause, reason, "an alert could not be posted, will try again");
        false
    }
}

fn tell(alert: &str, outcome: &'static str) {
    let labels = [("alert", alert.to_owned()), ("outcome", outcome.to_owned())];
    metrics::counter!("tideline_alert_posts_total", &labels).increment(1);
}

/// One attempt.
async fn send(context: Arc<Context>, post: Post) -> Outcome {
    let Post { alert, id, body } = post;
    let plan = context.plan.alerts.iter().find(|plan| plan.name == alert);
    let Some((url, secret)) = plan.and_then(|plan| Some((plan.webhook.clone()?, plan.secret.clone()))) else {
        tracing::warn!(alert, id, "an alert is not posted: it has no webhook any more");
        tell(&alert, "dropped");
        return Outcome::Over;
    };
    let post = WebhookPost {
        url,
        id: id.clone(),
        secret,
        at: context.ports.clock.now(),
        body: Bytes::from(body),
        timeout: context.config.webhook_timeout.to_std(),
    };
    match context.ports.webhook.post(&post).await {
        Ok(answer) if answer.is_taken() => {
            tracing::debug!(alert, id, "alert posted");
            tell(&alert, "delivered");
            Outcome::Over
        }
        Ok(answer) if answer.is_retryable() => {
            Outcome::Failed { reason: format!("status {}", answer.status), wanted: answer.retry_after }
        }
        Ok(answer) => {
            tracing::error!(alert, id, status = answer.status, "the webhook refuses an alert: it is not posted again");
            tell(&alert, "refused");
            Outcome::Over
        }
        Err(error) if error.is_retryable() => Outcome::Failed { reason: error.to_string(), wanted: None },
        Err(error) => {
            tracing::error!(alert, id, %error, "an alert cannot be posted");
            tell(&alert, "refused");
            Outcome::Over
        }
    }
}
