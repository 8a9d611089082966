//! Who may do what: bearer tokens that are JWTs (RFC 7519), signed by somebody the configuration names.
//!
//! A token is checked with the keys of the configuration, and in the way that belongs to the key: RS256 with an RSA key,
//! ES256 with one on P-256, `EdDSA` with one on Curve25519, HS256 with a secret. What a token says of its algorithm
//! chooses nothing: it must be the key's. Of a token nothing is believed, nor even read but its header, before its
//! signature holds. Tokens are neither kept nor logged.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tideline_common::ports::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::files::{self, FileError, LOOK_AGAIN};
use super::problem::Problem;
use super::server::Closing;

/// Routes that need no token: probes, monitoring, and what the API is.
const OPEN: &[&str] = &["/healthz", "/readyz", "/metrics", "/openapi.json"];
/// Routes that take a token in the query too: browsers set no headers for what never ends.
const STREAMS: &[&str] = &["/v1/live", "/v1/views/{view}/live"];
/// The parameter of it (RFC 6750).
const PARAMETER: &str = "access_token";
/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// The shortest secret, in bytes: as long as what it makes (RFC 7518).
pub const SECRET_BYTES_MIN: usize = 32;
/// The shortest public key of RSA with 2,048 bits, in bytes of DER.
const RSA_DER_BYTES_MIN: usize = 290;
/// The shortest modulus of RSA, in bytes.
const RSA_MODULUS_BYTES_MIN: usize = 256;
/// The farthest end of a stream that is waited for.
const UNTIL_MAX: Duration = Duration::from_hours(24 * 365);

/// What tokens are checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A secret that whoever signs has too (HS256).
    Secret(String),
    /// A file of public keys, as authorities publish it (RFC 7517).
    Jwks(PathBuf),
    /// A public key as PEM.
    PublicKey(PathBuf),
}

// By hand: a secret is never printed.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret"),
            Self::Jwks(path) => f.debug_tuple("Jwks").field(path).finish(),
            Self::PublicKey(path) => f.debug_tuple("PublicKey").field(path).finish(),
        }
    }
}

/// Which tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whose signature.
    pub keys: KeySource,
    /// What `iss` must be; anything when absent.
    pub issuer: Option<String>,
    /// What `aud` must name; when absent, a token must not have it.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

/// Checks tokens.
pub struct Auth {
    config: AuthConfig,
    keys: RwLock<Arc<Keys>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Keys, and what they were made of.
struct Keys {
    content: Vec<u8>,
    keys: Vec<Key>,
}

/// A key, with its name where it has one.
struct Key {
    id: Option<String>,
    kind: KeyKind,
}

enum KeyKind {
    // Boxed: it is much larger than the others.
    Secret(Box<hmac::Key>),
    Public(&'static str, ParsedPublicKey),
}

impl KeyKind {
    /// The name of the only algorithm that it is for.
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Public(algorithm, _) => algorithm,
        }
    }

    fn holds(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Self::Public(_, key) => key.verify_sig(signed, signature).is_ok(),
        }
    }
}

/// Names of the algorithms of public keys.
const RS256: &str = "RS256";
const ES256: &str = "ES256";
const EDDSA: &str = "EdDSA";

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Asks.
    Read,
    /// Appends records.
    Write,
    /// Changes anything else.
    Admin,
}

impl Need {
    /// What a request to a route needs. Whatever is neither asking nor appending is for administrators, also what is yet
    /// to come.
    pub(crate) fn of(method: &Method, route: &str) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            Method::POST if route == "/v1/topics/{topic}" => Self::Write,
            _ => Self::Admin,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Why a token is not accepted, in words that give away nothing of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(&'static str);

/// What has not even the form of a token.
const FORM: Refused = Refused("it is not a signed JWT in its compact form");

/// What an accepted token allows.
#[derive(Debug)]
pub(crate) struct Grant {
    scopes: Vec<String>,
    /// How long it is still accepted.
    rest: Duration,
}

impl Grant {
    fn allows(&self, need: Need) -> bool {
        self.scopes.iter().any(|scope| scope == need.name() || scope == Need::Admin.name())
    }
}

/// Head of a token.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: none are.
    crit: Option<serde_json::Value>,
}

/// What a token claims, as far as it matters.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Texts>,
    scope: Option<Texts>,
    scp: Option<Texts>,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
        .iter()
        .map(String::as_str)
    }
}

impl Auth {
    /// Reads the keys.
    ///
    /// # Errors
    /// A secret that is too short; a file that cannot be read, or has no key that tokens can be checked with.
    pub fn load(config: AuthConfig, clock: Arc<dyn Clock>) -> Result<Self, FileError> {
        let keys = keys_of(&config.keys)?;
        Ok(Self { config, keys: RwLock::new(Arc::new(keys)), clock })
    }

    /// Looks at the file of the keys again and again, until `shutdown`: authorities change theirs.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        if matches!(self.config.keys, KeySource::Secret(_)) {
            return;
        }
        files::follow("keys", LOOK_AGAIN, shutdown, move || self.renew()).await;
    }

    /// Looks at the file again; whether it was another one.
    fn renew(&self) -> Result<bool, FileError> {
        let keys = keys_of(&self.config.keys)?;
        if keys.content == self.keys.read().content {
            return Ok(false);
        }
        *self.keys.write() = Arc::new(keys);
        Ok(true)
    }

    /// Checks a token.
    pub(crate) fn check(&self, token: &str) -> Result<Grant, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused("it is too long"));
        }
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| FORM);
        let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
        let (head, claims) = signed.split_once('.').ok_or(FORM)?;
        let head: Head = serde_json::from_slice(&decode(head)?).map_err(|_| FORM)?;
        if head.crit.is_some() {
            return Err(Refused("it has an extension that must be understood, and is not"));
        }
        let keys = Arc::clone(&self.keys.read());
        let key = keys.find(&head)?;
        if key.kind.algorithm() != head.alg {
            return Err(Refused("it is signed with another algorithm than the key is for"));
        }
        if !key.kind.holds(signed.as_bytes(), &decode(signature)?) {
            return Err(Refused("its signature does not hold"));
        }
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| Refused("its claims cannot be read"))?;
        self.accept(&claims)
    }

    /// Accepts claims of which the signature holds.
    fn accept(&self, claims: &Claims) -> Result<Grant, Refused> {
        let now = self.clock.now().micros() as f64 / 1e6;
        let leeway = self.config.leeway.as_secs_f64();
        let Some(exp) = claims.exp else { return Err(Refused("it does not say when it expires (`exp`)")) };
        let rest = exp + leeway - now;
        if rest <= 0.0 {
            return Err(Refused("it has expired (`exp`)"));
        }
        if claims.nbf.is_some_and(|nbf| nbf > now + leeway) {
            return Err(Refused("it is not valid yet (`nbf`)"));
        }
        if let Some(issuer) = &self.config.issuer
            && claims.iss.as_ref() != Some(issuer)
        {
            return Err(Refused("it is from another issuer (`iss`)"));
        }
        match (&self.config.audience, &claims.aud) {
            (Some(audience), Some(of)) if of.iter().any(|one| one == audience) => {}
            (None, None) => {}
            // For somebody else, and what it is for here is not said (RFC 7519, 4.1.3).
            _ => return Err(Refused("it is for another audience (`aud`)")),
        }
        let scopes = [&claims.scope, &claims.scp].into_iter().flatten();
        let scopes = scopes.flat_map(Texts::iter).flat_map(str::split_ascii_whitespace).map(str::to_owned).collect();
        Ok(Grant { scopes, rest: Duration::try_from_secs_f64(rest).map_or(UNTIL_MAX, |rest| rest.min(UNTIL_MAX)) })
    }

    /// Lets a request through, or says why not. A token is taken out of the query, and the end of what the request
    /// opens is noted.
    fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
        let path = request.uri().path();
        let is_open = match &route {
            Some(route) => OPEN.contains(&route.as_str()),
            // Files of the page. Under these there are none.
            None => !(path.starts_with("/v1/") || path.starts_with("/api/")),
        };
        if is_open {
            return Ok(());
        }
        let route = route.unwrap_or_default();
        let in_query = if STREAMS.contains(&route.as_str()) { take(request.uri_mut())? } else { None };
        let token = of_headers(request.headers())?.or(in_query).ok_or_else(missing)?;
        let grant = self.check(&token).map_err(|Refused(why)| invalid(why))?;
        let need = Need::of(request.method(), &route);
        if !grant.allows(need) {
            let need = need.name();
            let detail = format!("this needs a token with the scope `{need}`");
            let challenge = format!(r#"Bearer realm="tideline", error="insufficient_scope", scope="{need}""#);
            return Err(Problem::new("scope-missing", detail).challenge(challenge));
        }
        let mut closing = request.extensions().get::<Closing>().cloned().unwrap_or_else(Closing::never);
        closing.until = Some(Instant::now() + grant.rest);
        request.extensions_mut().insert(closing);
        Ok(())
    }
}

/// Lets through who may, before anything else is done for a request.
pub(crate) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let admitted = api.config.auth.as_ref().map_or(Ok(()), |auth| auth.admit(&mut request));
    match admitted {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether a route needs a token where tokens are checked.
pub(crate) fn is_guarded(route: &str) -> bool {
    !OPEN.contains(&route)
}

/// Whether a route takes a token in the query too.
pub(crate) fn is_stream(route: &str) -> bool {
    STREAMS.contains(&route)
}

fn missing() -> Problem {
    let detail = "send `Authorization: Bearer` and a token";
    Problem::new("token-missing", detail).challenge(r#"Bearer realm="tideline""#)
}

fn invalid(why: &str) -> Problem {
    Problem::new("token-invalid", why).challenge(r#"Bearer realm="tideline", error="invalid_token""#)
}

/// The token of the headers.
fn of_headers(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(invalid("there is more than one `Authorization`"));
    }
    let value = value.to_str().map_err(|_| invalid("`Authorization` cannot be read"))?;
    let Some((scheme, token)) = value.split_once(' ') else { return Ok(None) };
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned()))
}

/// Takes the token out of a query, so that nobody after this sees it.
fn take(uri: &mut Uri) -> Result<Option<String>, Problem> {
    let Some(query) = uri.query() else { return Ok(None) };
    let token_of = |pair: &str| {
        let (name, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        (name == PARAMETER).then(|| value.into_owned())
    };
    let mut tokens = query.split('&').filter_map(token_of);
    let Some(token) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err(invalid("there is more than one `access_token`"));
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| token_of(pair).is_none()).collect();
    let target = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), rest.join("&")) };
    let mut parts = uri.clone().into_parts();
    // Less of what was one already.
    parts.path_and_query = Some(target.parse().map_err(|_| invalid("the query cannot be read"))?);
    *uri = Uri::from_parts(parts).map_err(|_| invalid("the query cannot be read"))?;
    Ok(Some(token))
}

impl Keys {
    /// The key that a token names: that with its name, or the only one.
    fn find(&self, head: &Head) -> Result<&Key, Refused> {
        if let [only] = self.keys.as_slice()
            && (only.id.is_none() || head.kid.is_none() || only.id == head.kid)
        {
            return Ok(only);
        }
        let Some(id) = &head.kid else {
            return Err(Refused("it does not say which of several keys it is signed with (`kid`)"));
        };
        // Names are unique, unless a key is there once for each algorithm.
        let named = || self.keys.iter().filter(|key| key.id.as_ref() == Some(id));
        let fitting = named().find(|key| key.kind.algorithm() == head.alg).or_else(|| named().next());
        fitting.ok_or(Refused("it is signed with a key that is not known here (`kid`)"))
    }
}

/// Keys of a source.
fn keys_of(source: &KeySource) -> Result<Keys, FileError> {
    match source {
        KeySource::Secret(secret) => {
            if secret.len() < SECRET_BYTES_MIN {
                let reason = format!("has {} bytes: it needs {SECRET_BYTES_MIN} or more", secret.len());
                return Err(FileError::new(Path::new("serve.auth.secret"), reason));
            }
            let kind = KeyKind::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())));
            Ok(Keys { content: Vec::new(), keys: vec![Key { id: None, kind }] })
        }
        KeySource::PublicKey(path) => {
            let content = files::read(path)?;
            let kind = public_key(&content).map_err(|reason| FileError::new(path, reason))?;
            Ok(Keys { content, keys: vec![Key { id: None, kind }] })
        }
        KeySource::Jwks(path) => {
            let content = files::read(path)?;
            let keys = key_set(&content).map_err(|reason| FileError::new(path, reason))?;
            Ok(Keys { content, keys })
        }
    }
}

/// A public key of PEM. What it is for follows from what it is.
fn public_key(pem: &[u8]) -> Result<KeyKind, String> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .map_err(|error| format!("has no public key as PEM (`BEGIN PUBLIC KEY`): {error}"))?;
    let der = key.as_ref();
    if let Ok(key) = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der) {
        return Ok(KeyKind::Public(ES256, key));
    }
    if let Ok(key) = ParsedPublicKey::new(&ED25519, der) {
        return Ok(KeyKind::Public(EDDSA, key));
    }
    match ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der) {
        Ok(_) if der.len() < RSA_DER_BYTES_MIN => Err("is a key of RSA with fewer than 2,048 bits".to_owned()),
        Ok(key) => Ok(KeyKind::Public(RS256, key)),
        Err(_) => Err("is no key of RSA, P-256 or Ed25519".to_owned()),
    }
}

/// A set of keys, as authorities publish it.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// A key of a set.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Keys of a set that tokens can be checked with. Those for something else are left out: authorities publish such, too.
fn key_set(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet = serde_json::from_slice(bytes).map_err(|error| format!("is no set of keys (JWKS): {error}"))?;
    let mut keys = Vec::new();
    for (at, jwk) in set.keys.into_iter().enumerate() {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            continue;
        }
        let of_key = |reason: &str| format!("key {} ({}): {reason}", at + 1, jwk.kid.as_deref().unwrap_or("no kid"));
        let Some((algorithm, parsed)) = jwk.parse().map_err(of_key)? else {
            tracing::warn!(
                key = at + 1,
                kid = jwk.kid,
                kty = jwk.kty,
                "a key is left out: it is not of RSA, P-256 or Ed25519"
            );
            continue;
        };
        if jwk.alg.as_deref().is_some_and(|alg| alg != algorithm) {
            tracing::warn!(
                key = at + 1,
                kid = jwk.kid,
                alg = jwk.alg,
                "a key is left out: it is for another algorithm"
            );
            continue;
        }
        keys.push(Key { id: jwk.kid, kind: KeyKind::Public(algorithm, parsed) });
    }
    if keys.is_empty() {
        return Err("has no key for signatures with RS256, ES256 or EdDSA".to_owned());
    }
    if keys.len() > 1 && keys.iter().any(|key| key.id.is_none()) {
        return Err("has several keys, and not all of them have a `kid`".to_owned());
    }
    Ok(keys)
}

impl Jwk {
    /// The key, where it is of a kind that is known here.
    fn parse(&self) -> Result<Option<(&'static str, ParsedPublicKey)>, &'static str> {
        let part = |text: &Option<String>, problem| {
            let text = text.as_ref().ok_or(problem)?;
            BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| problem)
        };
        Ok(match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (part(&self.n, "`n` is missing or wrong")?, part(&self.e, "`e` is missing or wrong")?);
                if n.len() < RSA_MODULUS_BYTES_MIN {
                    return Err("it has fewer than 2,048 bits");
                }
                let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
                Some((RS256, key.map_err(|_| "it is no key of RSA")?))
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (part(&self.x, "`x` is missing or wrong")?, part(&self.y, "`y` is missing or wrong")?);
                // A point that is not compressed.
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                Some((ES256, key.map_err(|_| "it is no point of P-256")?))
            }
            ("OKP", Some("Ed25519")) => {
                let key = ParsedPublicKey::new(&ED25519, part(&self.x, "`x` is missing or wrong")?);
                Some((EDDSA, key.map_err(|_| "it is no key of Ed25519")?))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
