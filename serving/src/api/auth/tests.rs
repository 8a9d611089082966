#![allow(clippy::unwrap_used)]

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};
use tideline_common::ports::ManualClock;
use tideline_common::time::Timestamp;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_300_819_000;

fn auth(keys: KeySource) -> Auth {
    let config = AuthConfig { keys, issuer: None, audience: None, leeway: Duration::from_secs(30) };
    load(config).unwrap()
}

fn load(config: AuthConfig) -> Result<Auth, FileError> {
    Auth::load(config, Arc::new(ManualClock::new(Timestamp(NOW * 1_000_000))))
}

fn secret() -> KeySource {
    KeySource::Secret(SECRET.to_owned())
}

fn encode(part: &Json) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

fn token(head: &Json, claims: &Json, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(head), encode(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |signed| hmac::sign(&key, signed).as_ref().to_vec()
}

/// A token of the secret with these claims.
fn signed(claims: &Json) -> String {
    token(&json!({ "alg": "HS256", "typ": "JWT" }), claims, hs256(SECRET.as_bytes()))
}

fn claims() -> Json {
    json!({ "exp": NOW + 600, "scope": "read" })
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der))
}

/// Keys in a file of a folder that is there as long as it is.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn refused(auth: &Auth, token: &str, part: &str) {
    let Refused(why) = auth.check(token).unwrap_err();
    assert!(why.contains(part), "{why}");
}

/// RFC 7515, appendix A.1 to A.3, and RFC 8037, A.4: what others have signed.
#[test]
fn signatures_of_the_standards_hold() {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = KeyKind::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &decode(secret))));
    let signed = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}");
    let signature = decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert!(key.holds(signed.as_bytes(), &signature));
    assert!(!key.holds(payload.as_bytes(), &signature));

    let set = json!({ "keys": [
        { "kty": "RSA", "kid": "rsa", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" },
        { "kty": "EC", "kid": "ec", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
        { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
    ] });
    let keys = key_set(set.to_string().as_bytes()).unwrap();
    let cases = [
        (
            "eyJhbGciOiJSUzI1NiJ9",
            payload,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            payload,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];
    for (key, (head, payload, signature)) in keys.iter().zip(cases) {
        let signed = format!("{head}.{payload}");
        let mut signature = decode(signature);
        assert!(key.kind.holds(signed.as_bytes(), &signature), "{}", key.kind.algorithm());
        signature[5] ^= 1;
        assert!(!key.kind.holds(signed.as_bytes(), &signature), "{}", key.kind.algorithm());
    }
    // The whole token of A.3, by a set of one key.
    let (_folder, path) = file(&json!({ "keys": [set["keys"][1]] }).to_string());
    let auth = auth(KeySource::Jwks(path));
    let (head, payload, signature) = cases[1];
    let grant = auth.check(&format!("{head}.{payload}.{signature}")).unwrap();
    assert_eq!((grant.scopes.len(), grant.rest), (0, Duration::from_secs(380 + 30)));
}

#[test]
fn times_are_kept_within_the_leeway() {
    let auth = auth(secret());
    assert_eq!(auth.check(&signed(&claims())).unwrap().rest, Duration::from_secs(630));
    assert!(auth.check(&signed(&json!({ "exp": NOW - 29 }))).is_ok());
    assert!(auth.check(&signed(&json!({ "exp": NOW as f64 + 0.5, "nbf": NOW + 30 }))).is_ok());
    assert_eq!(auth.check(&signed(&json!({ "exp": 1e300 }))).unwrap().rest, UNTIL_MAX);
    refused(&auth, &signed(&json!({ "exp": NOW - 30 })), "`exp`");
    refused(&auth, &signed(&json!({ "exp": -1e300 })), "`exp`");
    refused(&auth, &signed(&json!({ "exp": NOW + 600, "nbf": NOW + 31 })), "`nbf`");
    refused(&auth, &signed(&json!({ "scope": "admin" })), "when it expires");
    refused(&auth, &signed(&json!({ "exp": null, "scope": "admin" })), "when it expires");
    refused(&auth, &signed(&json!({ "exp": "never" })), "cannot be read");
    refused(&auth, &signed(&json!([])), "cannot be read");
}

#[test]
fn what_is_signed_otherwise_is_refused() {
    let auth = auth(secret());
    let head = json!({ "alg": "HS256" });
    refused(&auth, &token(&head, &claims(), hs256(b"another secret of thirty-two byte")), "signature");
    refused(&auth, &token(&json!({ "alg": "none" }), &claims(), |_| Vec::new()), "algorithm");
    // No signature, whatever the head says.
    refused(&auth, &token(&head, &claims(), |_| Vec::new()), "signature");
    refused(&auth, &token(&json!({ "alg": "HS512" }), &claims(), hs256(SECRET.as_bytes())), "algorithm");
    let critical = json!({ "alg": "HS256", "crit": ["exp"] });
    refused(&auth, &token(&critical, &claims(), hs256(SECRET.as_bytes())), "must be understood");
    // Claims that were changed after signing.
    let good = signed(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other = encode(&json!({ "exp": NOW + 600, "scope": "admin" }));
    refused(&auth, &format!("{}.{other}.{}", parts[0], parts[2]), "signature");
    for form in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", &good[1..], &format!("{good}.x"), &format!("{good}=")] {
        refused(&auth, form, "compact form");
    }
    refused(&auth, &"a".repeat(TOKEN_BYTES_MAX + 1), "too long");
}

/// A public key is public: who takes its bytes for a secret has signed nothing.
#[test]
fn a_public_key_is_no_secret() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let pem = pem(der.as_ref());
    let (_folder, path) = file(&pem);
    let auth = auth(KeySource::PublicKey(path));
    let sign = |signed: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature).unwrap();
        signature
    };
    assert!(auth.check(&token(&json!({ "alg": "RS256", "kid": "whatever" }), &claims(), sign)).is_ok());
    for key in [pem.as_bytes(), der.as_ref()] {
        refused(&auth, &token(&json!({ "alg": "HS256" }), &claims(), hs256(key)), "algorithm");
        refused(&auth, &token(&json!({ "alg": "RS256" }), &claims(), hs256(key)), "signature");
    }
    refused(&auth, &token(&json!({ "alg": "PS256" }), &claims(), sign), "algorithm");
}

#[test]
fn a_key_of_a_set_is_chosen_by_its_name_and_renewed() {
    let rng = SystemRandom::new();
    let of = |id: &str, pair: &EcdsaKeyPair| {
        let point = pair.public_key().as_ref();
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256", "x": part(&point[1..33]), "y": part(&point[33..]) })
    };
    let pair = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (old, new) = (pair(), pair());
    let edwards = Ed25519KeyPair::generate().unwrap();
    let edwards_key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": BASE64_URL_SAFE_NO_PAD.encode(edwards.public_key().as_ref()) });
    let beside = json!({ "kty": "RSA", "use": "enc", "kid": "old", "n": "AQAB", "e": "AQAB" });
    let unknown = json!({ "kty": "EC", "crv": "P-521", "kid": "big", "x": "AA", "y": "AA" });
    let (_folder, path) = file(&json!({ "keys": [beside, unknown, of("old", &old), edwards_key] }).to_string());
    let auth = auth(KeySource::Jwks(path.clone()));
    let by = |id: Json, pair: &EcdsaKeyPair| {
        let sign = |signed: &[u8]| pair.sign(&rng, signed).unwrap().as_ref().to_vec();
        token(&json!({ "alg": "ES256", "kid": id }), &claims(), sign)
    };
    assert!(auth.check(&by("old".into(), &old)).is_ok());
    let sign = |signed: &[u8]| edwards.sign(signed).as_ref().to_vec();
    assert!(auth.check(&token(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims(), sign)).is_ok());
    refused(&auth, &by("old".into(), &new), "signature");
    refused(&auth, &by("new".into(), &new), "not known");
    refused(&auth, &by("big".into(), &old), "not known");
    refused(&auth, &by("ed".into(), &old), "algorithm");
    refused(&auth, &by(Json::Null, &old), "several keys");
    // The authority has a new key; a file that is broken changes nothing.
    assert!(!auth.renew().unwrap());
    std::fs::write(&path, "{}").unwrap();
    assert!(auth.renew().unwrap_err().to_string().contains("keys"));
    assert!(auth.check(&by("old".into(), &old)).is_ok());
    std::fs::write(&path, json!({ "keys": [of("new", &new)] }).to_string()).unwrap();
    assert!(auth.renew().unwrap());
    assert!(auth.check(&by("new".into(), &new)).is_ok());
    assert!(auth.check(&by(Json::Null, &new)).is_ok());
    refused(&auth, &by("old".into(), &old), "not known");
}

#[test]
fn issuer_and_audience_are_those_of_the_configuration() {
    let config = AuthConfig {
        keys: secret(),
        issuer: Some("https://id.example".to_owned()),
        audience: Some("tideline".to_owned()),
        leeway: Duration::ZERO,
    };
    let ours = load(config).unwrap();
    let with = |issuer: Json, audience: Json| signed(&json!({ "exp": NOW + 1, "iss": issuer, "aud": audience }));
    assert!(ours.check(&with("https://id.example".into(), "tideline".into())).is_ok());
    assert!(ours.check(&with("https://id.example".into(), json!(["other", "tideline"]))).is_ok());
    refused(&ours, &with("https://id.example/".into(), "tideline".into()), "`iss`");
    refused(&ours, &with(Json::Null, "tideline".into()), "`iss`");
    refused(&ours, &with("https://id.example".into(), "other".into()), "`aud`");
    refused(&ours, &with("https://id.example".into(), json!([])), "`aud`");
    refused(&ours, &with("https://id.example".into(), Json::Null), "`aud`");
    // Who is not told its audience takes no token that has one.
    let any = auth(secret());
    assert!(any.check(&with("whoever".into(), Json::Null)).is_ok());
    refused(&any, &with("whoever".into(), "other".into()), "`aud`");
}

#[test]
fn scopes_are_texts_or_lists_and_administrators_may_everything() {
    let auth = auth(secret());
    let may = |claims: Json| {
        let mut claims = claims;
        claims["exp"] = (NOW + 1).into();
        let grant = auth.check(&signed(&claims)).unwrap();
        [Need::Read, Need::Write, Need::Admin].map(|need| grant.allows(need))
    };
    assert_eq!(may(json!({})), [false; 3]);
    assert_eq!(may(json!({ "scope": "" })), [false; 3]);
    assert_eq!(may(json!({ "scope": "reader read-all admins" })), [false; 3]);
    assert_eq!(may(json!({ "scope": "openid read" })), [true, false, false]);
    assert_eq!(may(json!({ "scope": "write" })), [false, true, false]);
    assert_eq!(may(json!({ "scp": ["read", "write"] })), [true, true, false]);
    assert_eq!(may(json!({ "scp": "read", "scope": ["write"] })), [true, true, false]);
    assert_eq!(may(json!({ "scp": ["admin"] })), [true; 3]);
}

#[test]
fn what_a_request_needs_follows_from_method_and_route() {
    assert_eq!(Need::of(&Method::GET, "/v1/batch/runs"), Need::Read);
    assert_eq!(Need::of(&Method::HEAD, "/v1/views"), Need::Read);
    assert_eq!(Need::of(&Method::POST, "/v1/topics/{topic}"), Need::Write);
    assert_eq!(Need::of(&Method::DELETE, "/v1/topics/{topic}"), Need::Admin);
    assert_eq!(Need::of(&Method::POST, "/v1/batch/runs"), Need::Admin);
    assert_eq!(Need::of(&Method::POST, "/v1/what/is/to/come"), Need::Admin);
}

#[test]
fn a_token_is_taken_out_of_the_query() {
    let of = |text: &str| {
        let mut uri: Uri = text.parse().unwrap();
        let token = take(&mut uri).ok().unwrap();
        (uri.to_string(), token)
    };
    assert_eq!(of("/v1/live"), ("/v1/live".to_owned(), None));
    assert_eq!(of("/v1/live?view=a+b&rows=1"), ("/v1/live?view=a+b&rows=1".to_owned(), None));
    assert_eq!(of("/v1/live?access_token=a.b"), ("/v1/live".to_owned(), Some("a.b".to_owned())));
    let escaped = of("/v1/live?view=a%20b&access%5Ftoken=a%2Eb&view=c");
    assert_eq!(escaped, ("/v1/live?view=a%20b&view=c".to_owned(), Some("a.b".to_owned())));
    let whole = of("http://host/v1/live?access_token=t&rows=1");
    assert_eq!(whole, ("http://host/v1/live?rows=1".to_owned(), Some("t".to_owned())));
    let mut twice: Uri = "/v1/live?access_token=a&access_token=b".parse().unwrap();
    assert!(take(&mut twice).is_err());
}

#[test]
fn keys_that_cannot_be_used_are_named_with_what_is_wrong() {
    let wrong = |keys: KeySource, part: &str| {
        let config = AuthConfig { keys, issuer: None, audience: None, leeway: Duration::ZERO };
        let message = load(config).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    wrong(KeySource::Secret("short".to_owned()), "serve.auth.secret: has 5 bytes: it needs 32 or more");
    wrong(KeySource::Jwks("/nowhere/keys.json".into()), "/nowhere/keys.json: cannot be read");
    let of_file = |text: &str, part: &str| {
        let (_folder, path) = file(text);
        wrong(KeySource::PublicKey(path), part);
    };
    of_file("nothing", "BEGIN PUBLIC KEY");
    of_file(&pem(b"nothing"), "is no key of RSA, P-256 or Ed25519");
    let of_set = |text: &Json, part: &str| {
        let (_folder, path) = file(&text.to_string());
        wrong(KeySource::Jwks(path), part);
    };
    let edwards = |id: Json, x: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x });
    let point = BASE64_URL_SAFE_NO_PAD.encode(Ed25519KeyPair::generate().unwrap().public_key().as_ref());
    of_set(&json!([]), "is no set of keys");
    of_set(&json!({ "keys": [] }), "has no key for signatures");
    // A secret in a set of public keys is no key.
    of_set(&json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }), "has no key for signatures");
    of_set(&json!({ "keys": [edwards("a".into(), "AAAA")] }), "key 1 (a): it is no key of Ed25519");
    of_set(&json!({ "keys": [edwards(Json::Null, "%")] }), "key 1 (no kid): `x` is missing or wrong");
    of_set(
        &json!({ "keys": [edwards("a".into(), &point), edwards(Json::Null, &point)] }),
        "not all of them have a `kid`",
    );
    of_set(&json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }] }), "fewer than 2,048 bits");
    assert_eq!(format!("{:?}", secret()), "Secret");
}
