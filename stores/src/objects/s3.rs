//! A lake in S3, or in any store that speaks S3 and does conditional puts (`If-None-Match: *`).
//!
//! A request is tried a few times, within a bound; a conditional put whose answer was lost is not: the store may have
//! done it, and the next try by the caller then meets its own object and learns [`Created::Exists`]. Every caller of
//! a conditional put reads what is there in that case.
//!
//! [`Created::Exists`]: tideline_common::ports::Created::Exists

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::limit::LimitStore;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use tideline_common::ports::{PortError, PortResult};

use super::{Base, ObjectStoreObjects, path};

/// How an address begins.
const SCHEME: &str = "s3://";
/// Region when none is named: what servers other than Amazon's expect.
const REGION: &str = "us-east-1";
/// The largest object that one put may write, in bytes: a limit of S3.
const PUT_MAX: usize = 5 << 30;

/// Where a lake in S3 is, and how patiently it is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Config {
    /// `s3://bucket`, or `s3://bucket/prefix`.
    pub url: String,
    /// Address of a server that is not Amazon's, such as `http://127.0.0.1:9000`. The bucket becomes part of the path.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` without one, here and in the environment.
    pub region: Option<String>,
    /// Access key. Without one, keys come from the environment (`AWS_…`), or the role of the machine.
    pub access_key: Option<String>,
    /// Secret key, with `access_key`.
    pub secret_key: Option<String>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a server may be silent in the midst of an answer.
    pub read_timeout: Duration,
    /// How long one try of a request may take in all, body included.
    pub request_timeout: Duration,
    /// How often a request is tried again that failed on its way or at the server.
    pub max_retries: usize,
    /// How long after its first try a request is not tried again.
    pub retry_timeout: Duration,
    /// Requests at a time; more wait.
    pub max_requests: usize,
}

impl S3Config {
    /// The lake at `url` on Amazon S3, with keys from the environment or the role of the machine.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_mins(2),
            max_retries: 3,
            retry_timeout: Duration::from_secs(10),
            max_requests: 64,
        }
    }

    /// The bucket, and the prefix (empty: none).
    fn place(&self) -> PortResult<(String, String)> {
        let wrong = |reason: &str| PortError::invalid(format!("the lake {}", self.url), reason);
        let rest = self.url.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with s3://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(letter) {
            return Err(wrong("a bucket has 3 to 63 of a-z 0-9 - . in its name"));
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            path::parse(prefix)?;
        }
        Ok((bucket.to_owned(), prefix.to_owned()))
    }

    fn is_plain_http(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    fn builder(&self, bucket: &str) -> PortResult<AmazonS3Builder> {
        let wrong = |reason: &str| PortError::invalid(format!("the lake {}", self.url), reason);
        let mut builder = match (&self.access_key, &self.secret_key) {
            (Some(access), Some(secret)) => {
                AmazonS3Builder::new().with_access_key_id(access).with_secret_access_key(secret)
            }
            (None, None) => AmazonS3Builder::from_env(),
            _ => return Err(wrong("its access key and its secret key belong together")),
        };
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        } else if builder.get_config_value(&AmazonS3ConfigKey::Region).is_none() {
            builder = builder.with_region(REGION);
        }
        if let Some(endpoint) = &self.endpoint {
            if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
                return Err(wrong("its endpoint begins with http:// or https://"));
            }
            // Both: an endpoint of the environment for S3 alone would win over ours.
            builder = builder.with_endpoint(endpoint).with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        // Amazon's own way is the bucket in the name of the host, where TLS allows it.
        let in_host = self.endpoint.is_none() && !bucket.contains('.');
        let client = ClientOptions::new()
            .with_allow_http(self.is_plain_http())
            .with_connect_timeout(self.connect_timeout)
            .with_read_timeout(self.read_timeout)
            .with_timeout(self.request_timeout)
            .with_pool_idle_timeout(Duration::from_secs(20))
            .with_pool_max_idle_per_host(self.max_requests.max(1));
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            ..BackoffConfig::default()
        };
        let retry = RetryConfig { backoff, max_retries: self.max_retries, retry_timeout: self.retry_timeout };
        Ok(builder
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(in_host)
            .with_client_options(client)
            .with_retry(retry)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // One request per object: it needs one right less, and every store has it.
            .with_disable_bulk_delete(true))
    }

    /// What a columnar reader must be told, as `object_store` and Polars name it.
    fn reader_options(&self) -> Vec<(String, String)> {
        let mut options = vec![
            ("aws_region".to_owned(), self.region.clone().unwrap_or_else(|| REGION.to_owned())),
            ("aws_allow_http".to_owned(), self.is_plain_http().to_string()),
        ];
        if self.region.is_none() && std::env::var_os("AWS_REGION").or(std::env::var_os("AWS_DEFAULT_REGION")).is_some()
        {
            options.remove(0);
        }
        let given = [
            ("aws_endpoint_url", &self.endpoint),
            ("aws_access_key_id", &self.access_key),
            ("aws_secret_access_key", &self.secret_key),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                options.push((name.to_owned(), value.clone()));
            }
        }
        options
    }
}

// By hand: keys are never printed.
impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("url", &self.url)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("has_keys", &self.access_key.is_some())
            .field("request_timeout", &self.request_timeout)
            .field("max_retries", &self.max_retries)
            .field("max_requests", &self.max_requests)
            .finish_non_exhaustive()
    }
}

impl ObjectStoreObjects {
    /// Objects in S3 below the prefix of `config.url`. Asks nothing of the server yet: one that is down is an error of
    /// the calls, not of this.
    ///
    /// # Errors
    /// `Invalid` for a configuration that makes no sense.
    pub fn s3(config: &S3Config) -> PortResult<Self> {
        let (bucket, prefix) = config.place()?;
        let what = || format!("the lake {}", config.url);
        let store: AmazonS3 = config.builder(&bucket)?.build().map_err(|e| PortError::invalid(what(), e))?;
        let store = LimitStore::new(store, config.max_requests.max(1));
        let store: Arc<dyn ObjectStore> =
            if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, path::parse(&prefix)?)) };
        let url = format!("{SCHEME}{bucket}/{prefix}");
        let base = Base::S3 { url: url.trim_end_matches('/').to_owned(), options: config.reader_options() };
        Ok(Self { store, base, reserve: None, put_max: PUT_MAX })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tideline_common::ports::{Location, Objects};

    use super::*;

    fn config(url: &str) -> S3Config {
        S3Config {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            access_key: Some("the-access".to_owned()),
            secret_key: Some("the-secret".to_owned()),
            ..S3Config::new(url)
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for url in ["", "s3:/x", "s3://", "s3://ab", "s3://Bucket", "s3://bu_cket", "s3://bucket//a", "gs://bucket"] {
            let error = ObjectStoreObjects::s3(&config(url)).unwrap_err();
            assert!(matches!(error, PortError::Invalid { .. }), "{url}: {error}");
        }
        let half = S3Config { secret_key: None, ..config("s3://bucket") };
        assert!(ObjectStoreObjects::s3(&half).unwrap_err().to_string().contains("belong together"));
        let bare = S3Config { endpoint: Some("127.0.0.1:9000".to_owned()), ..config("s3://bucket") };
        assert!(ObjectStoreObjects::s3(&bare).unwrap_err().to_string().contains("http://"));
    }

    #[test]
    fn a_reader_is_told_where_and_how_and_no_secret_is_printed() {
        for (url, expected) in [
            ("s3://bucket", "s3://bucket/a b/x=$1"),
            ("s3://bucket/", "s3://bucket/a b/x=$1"),
            ("s3://bucket/some/prefix/", "s3://bucket/some/prefix/a b/x=$1"),
        ] {
            let config = config(url);
            let objects = ObjectStoreObjects::s3(&config).unwrap();
            let location = objects.location("a b/x=$1");
            let printed = format!("{config:?} {objects:?} {location:?}");
            assert!(!printed.contains("the-secret") && !printed.contains("the-access"), "{printed}");
            let Location::S3 { url, options } = location else { panic!("it is in S3") };
            assert_eq!(url, expected);
            let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            assert_eq!(option("aws_endpoint_url"), Some("http://127.0.0.1:1"));
            assert_eq!(option("aws_allow_http"), Some("true"));
            assert_eq!(option("aws_secret_access_key"), Some("the-secret"));
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable() {
        let objects = ObjectStoreObjects::s3(&config("s3://bucket/x")).unwrap();
        let began = std::time::Instant::now();
        for error in [
            objects.get("a").await.unwrap_err(),
            objects.put("a", bytes::Bytes::new()).await.unwrap_err(),
            objects.put_if_absent("a", bytes::Bytes::new()).await.unwrap_err(),
            objects.list("a").await.unwrap_err(),
            objects.delete("a").await.unwrap_err(),
        ] {
            assert!(error.is_retryable(), "{error:?}");
            assert!(!error.to_string().contains("the-secret"), "{error}");
        }
        // Three retries with at most two seconds between them, each.
        assert!(began.elapsed() < Duration::from_mins(1));
    }
}
