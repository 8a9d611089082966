//! Posts to webhooks, on their way.
//!
//! At least once: a post is forgotten when the other side has taken it, has refused it for good, or has not taken it in
//! [`CloseConfig::webhook_attempts`](super::CloseConfig) attempts. Whichever it was is counted. A restart sends again
//! what was not known to have been taken, under the same id.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tideline_common::ports::WebhookPost;
use tokio::task::JoinSet;

use super::consumer::Post;
use super::context::Context;

/// Posts on their way; dropped, they end where they stand.
#[derive(Debug, Default)]
pub(super) struct Posts {
    tasks: JoinSet<String>,
    under_way: BTreeSet<String>,
}

impl Posts {
    /// Sends those of `posts` that are not under way, as many as may be at once.
    pub(super) fn start(&mut self, context: &Arc<Context>, posts: &[Post]) {
        for post in posts {
            if self.tasks.len() >= context.config.max_posts_at_once {
                return;
            }
            if self.under_way.insert(post.id.clone()) {
                self.tasks.spawn(deliver(Arc::clone(context), post.clone()));
            }
        }
    }

    /// The ids of those that need no more to be done.
    pub(super) fn done(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(id) => {
                    self.under_way.remove(&id);
                    done.push(id);
                }
                Err(error) => {
                    tracing::error!(%error, "a post to a webhook ended by itself");
                    // Which one is not known: all that wait are looked at again.
                    self.tasks.abort_all();
                    self.under_way.clear();
                }
            }
        }
        done
    }
}

/// Ends when nothing more is to be done.
async fn deliver(context: Arc<Context>, post: Post) -> String {
    let Post { alert, id, body } = post;
    let told = |outcome: &'static str| {
        metrics::counter!("tideline_alert_posts_total", "alert" => alert.clone(), "outcome" => outcome).increment(1);
    };
    let plan = context.plan.alerts.iter().find(|plan| plan.name == alert);
    let Some((url, secret)) = plan.and_then(|plan| Some((plan.webhook.clone()?, plan.secret.clone()))) else {
        tracing::warn!(alert, id, "an alert is not posted: it has no webhook any more");
        told("dropped");
        return id;
    };
    let body = Bytes::from(body);
    let config = &context.config;
    let seed = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
    let mut reason = String::new();
    for attempt in 0..config.webhook_attempts {
        let post = WebhookPost {
            url: url.clone(),
            id: id.clone(),
            secret: secret.clone(),
            at: context.ports.clock.now(),
            body: body.clone(),
            timeout: config.webhook_timeout.to_std(),
        };
        let mut wanted = None;
        match context.ports.webhook.post(&post).await {
            Ok(answer) if answer.is_taken() => {
                tracing::debug!(alert, id, attempt, "alert posted");
                told("delivered");
                return id;
            }
            Ok(answer) if answer.is_retryable() => {
                reason = format!("status {}", answer.status);
                wanted = answer.retry_after;
            }
            Ok(answer) => {
                tracing::error!(
                    alert,
                    id,
                    status = answer.status,
                    "the webhook refuses an alert: it is not posted again"
                );
                told("refused");
                return id;
            }
            Err(error) if error.is_retryable() => reason = error.to_string(),
            Err(error) => {
                tracing::error!(alert, id, %error, "an alert cannot be posted");
                told("refused");
                return id;
            }
        }
        told("retried");
        let pause = config.webhook_pause(attempt, seed, wanted);
        tracing::warn!(alert, id, attempt, ?pause, reason, "an alert could not be posted, will try again");
        if attempt + 1 < config.webhook_attempts {
            tokio::time::sleep(pause).await;
        }
    }
    tracing::error!(alert, id, reason, attempts = config.webhook_attempts, "an alert is given up: nobody took it");
    told("given_up");
    id
}
