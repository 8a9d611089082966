//! `[serve]`: the HTTP server, who may ask it.

use std::path::PathBuf;

use serde::Deserialize;
use tideline_common::time::Span;
use tideline_serving::api::auth::{AuthConfig, KeySource, SECRET_BYTES_MIN};

use super::span;

/// `[serve]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Address to listen at.
    pub listen: String,
    /// The longest record, in bytes.
    pub max_record_bytes: usize,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Memory of the rankings kept ready, in bytes, estimated.
    pub rankings_bytes: usize,
    /// Reads of one store at work at once.
    pub max_store_reads: usize,
    /// Folder of the built web page; looked for when absent.
    pub web: Option<PathBuf>,
    /// Live streams and sockets at once.
    pub max_live: usize,
    /// Origins of pages, beside this server's own, that may open a WebSocket; `*` is all of them.
    pub origins: Vec<String>,
    /// TLS; plain HTTP when absent.
    pub tls: Option<ServeTlsConfig>,
    /// Tokens; whoever connects may do everything when absent.
    pub auth: Option<ServeAuthConfig>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            max_record_bytes: 1 << 20,
            max_body_bytes: 64 << 20,
            rankings_bytes: 512 << 20,
            max_store_reads: 64,
            web: None,
            max_live: 256,
            origins: Vec::new(),
            tls: None,
            auth: None,
        }
    }
}

impl ServeConfig {
    /// Base URL of the server at the configured address.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.listen)
    }
}

/// `[serve.tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeTlsConfig {
    /// Certificate of the server, and those between it and the authority (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// `[serve.auth]`
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeAuthConfig {
    /// Secret of whoever signs tokens, for HS256.
    pub secret: Option<String>,
    /// File of public keys (JWKS).
    pub jwks: Option<PathBuf>,
    /// A public key (PEM).
    pub public_key: Option<PathBuf>,
    /// What `iss` must be; anything when absent.
    pub issuer: Option<String>,
    /// What `aud` must name; when absent, a token must not have it.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    #[serde(deserialize_with = "span")]
    pub leeway: Span,
}

impl Default for ServeAuthConfig {
    fn default() -> Self {
        Self { secret: None, jwks: None, public_key: None, issuer: None, audience: None, leeway: Span::from_secs(30) }
    }
}

// By hand: the secret is never printed.
impl std::fmt::Debug for ServeAuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeAuthConfig")
            .field("jwks", &self.jwks)
            .field("public_key", &self.public_key)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

impl ServeAuthConfig {
    /// What tokens are checked with.
    ///
    /// # Errors
    /// No key or several, a secret that is too short, a leeway out of bounds.
    pub fn tokens(&self) -> Result<AuthConfig, String> {
        let keys = match (&self.secret, &self.jwks, &self.public_key) {
            (Some(secret), None, None) if secret.len() < SECRET_BYTES_MIN => {
                return Err(format!(
                    "serve.auth.secret has {} bytes: it needs {SECRET_BYTES_MIN} or more",
                    secret.len()
                ));
            }
            (Some(secret), None, None) => KeySource::Secret(secret.clone()),
            (None, Some(path), None) => KeySource::Jwks(path.clone()),
            (None, None, Some(path)) => KeySource::PublicKey(path.clone()),
            _ => return Err("serve.auth needs exactly one of secret, jwks and public_key".to_owned()),
        };
        if self.leeway > Span::from_secs(300) {
            return Err("serve.auth.leeway must be at most 5 m".to_owned());
        }
        let (issuer, audience, leeway) = (self.issuer.clone(), self.audience.clone(), self.leeway.to_std());
        Ok(AuthConfig { keys, issuer, audience, leeway })
    }
}
