//! Tokens over HTTP: what needs one, what each scope allows, and that live streams end with theirs.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use support::{Event, World};
use tideline_common::alert;
use tideline_common::time::Timestamp;
use tideline_serving::api::auth::{Auth, AuthConfig, KeySource};
use tideline_serving::api::{ServeConfig, openapi, serve};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Seconds that the clock of [`World`] shows.
const NOW: i64 = 700;

fn token(claims: &Json) -> String {
    let encode = |part: &Json| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "JWT" })), encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A token with this scope that is good for ten minutes.
fn of(scope: &str) -> String {
    token(&json!({ "exp": NOW + 600, "scope": scope }))
}

fn world() -> World {
    let events = [Event::new(65, "A", 1, 1.0, 0)];
    let mut world = World::new(&events, &events, Some(Timestamp(0)));
    world.log.create(alert::TOPIC, 1);
    world.log.create("feed.processed", 2);
    let keys = KeySource::Secret(SECRET.to_owned());
    let config = AuthConfig { keys, issuer: None, audience: None, leeway: Duration::ZERO };
    world.api.auth = Some(Arc::new(Auth::load(config, world.clock.clone()).unwrap()));
    world
}

async fn send(
    router: &Router,
    method: &Method,
    uri: &str,
    authorization: Option<&str>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let body = if method == Method::POST { "{}\n" } else { "" };
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn status(router: &Router, method: &Method, uri: &str, token: &str) -> StatusCode {
    send(router, method, uri, Some(&format!("Bearer {token}"))).await.0
}

#[tokio::test]
async fn who_shows_no_token_learns_what_is_asked_for() {
    let router = world().router();
    let kind = async |uri: &str, authorization: Option<&str>| {
        let (status, headers, body) = send(&router, &Method::GET, uri, authorization).await;
        let problem: Json = serde_json::from_slice(&body).unwrap();
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status.as_u16());
        assert_eq!(problem["instance"], uri.split('?').next().unwrap());
        let challenge = headers["www-authenticate"].to_str().unwrap().to_owned();
        (status.as_u16(), problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned(), challenge)
    };
    let missing = (401, "token-missing".to_owned(), r#"Bearer realm="tideline""#.to_owned());
    let invalid = (401, "token-invalid".to_owned(), r#"Bearer realm="tideline", error="invalid_token""#.to_owned());
    for uri in ["/v1/views", "/v1/status", "/v1/views/nope", "/api/trades/totals", "/v1/nothing", "/api/nothing"] {
        assert_eq!(kind(uri, None).await, missing, "{uri}");
    }
    assert_eq!(kind("/v1/views", Some("Basic dTpw")).await, missing);
    assert_eq!(kind("/v1/views", Some("Bearer")).await, missing);
    assert_eq!(kind("/v1/views", Some("Bearer x.y.z")).await, invalid);
    let expired = token(&json!({ "exp": NOW - 1, "scope": "admin" }));
    assert_eq!(kind("/v1/views", Some(&format!("Bearer {expired}"))).await, invalid);
    // A query is logged by proxies: only what cannot set headers may use it.
    assert_eq!(kind(&format!("/v1/views?access_token={}", of("read")), None).await, missing);
    let (status, allowed, challenge) = kind("/v1/views", Some(&format!("Bearer {}", of("write")))).await;
    assert_eq!((status, allowed.as_str()), (403, "scope-missing"));
    assert_eq!(challenge, r#"Bearer realm="tideline", error="insufficient_scope", scope="read""#);
}

#[tokio::test]
async fn scopes_allow_what_they_say() {
    let router = world().router();
    let (get, post) = (Method::GET, Method::POST);
    for (method, uri, good, scopes) in [
        (&get, "/v1/views", &[200][..], ["read", "admin"]),
        (&get, "/api/trades/totals", &[200], ["read", "admin"]),
        (&Method::HEAD, "/v1/status", &[200], ["openid read", "admin"]),
        (&post, "/v1/topics/feed", &[200], ["write", "admin"]),
        // 409: the run of before is not over.
        (&post, "/v1/batch/runs", &[202, 409], ["admin", "read admin"]),
        (&get, "/v1/nothing", &[404], ["read", "admin"]),
        (&post, "/v1/views", &[405], ["admin", "admin"]),
    ] {
        for scope in ["", "read", "write", "read write", "admin", "openid read", "read admin"] {
            let found = status(&router, method, uri, &of(scope)).await.as_u16();
            let may = scope.split(' ').any(|one| scopes.iter().any(|all| all.split(' ').next_back() == Some(one)));
            assert!(if may { good.contains(&found) } else { found == 403 }, "{method} {uri} with `{scope}`: {found}");
        }
    }
    // The scheme is of any case.
    assert_eq!(send(&router, &get, "/v1/views", Some(&format!("bearer {}", of("read")))).await.0, StatusCode::OK);
    let two = Request::get("/v1/views").header("authorization", format!("Bearer {}", of("read")));
    let two = two.header("authorization", format!("Bearer {}", of("read"))).body(Body::empty()).unwrap();
    assert_eq!(router.clone().oneshot(two).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn probes_the_page_and_the_description_are_open() {
    let router = world().router();
    for uri in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/"] {
        assert_eq!(send(&router, &Method::GET, uri, None).await.0, StatusCode::OK, "{uri}");
    }
    assert_eq!(send(&router, &Method::GET, "/assets/nothing.js", None).await.0, StatusCode::NOT_FOUND);
    // Where tokens are checked the description says so, of what needs one.
    let (_, _, body) = send(&router, &Method::GET, "/openapi.json", None).await;
    let json: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let of = |path: &str, method: &str| &json["paths"][path][method];
    assert_eq!(of("/v1/views", "get")["security"], json!([{ "bearer": ["read"] }]));
    assert_eq!(of("/v1/topics/{topic}", "post")["security"], json!([{ "bearer": ["write"] }]));
    assert_eq!(of("/v1/batch/runs", "post")["security"], json!([{ "bearer": ["admin"] }]));
    assert_eq!(of("/v1/live", "get")["security"], json!([{ "bearer": ["read"] }, { "access_token": ["read"] }]));
    assert!(of("/v1/views", "get")["responses"]["401"].is_object());
    assert!(of("/healthz", "get")["security"].is_null() && of("/healthz", "get")["responses"]["401"].is_null());
    let without = openapi(&support::plan());
    assert!(without["components"]["securitySchemes"].is_null());
    assert!(without["paths"]["/v1/views"]["get"]["responses"]["401"].is_null());
}

#[tokio::test]
async fn a_stream_takes_its_token_from_the_query_and_ends_with_it() {
    let world = world();
    let uri = |scope: &str, rest: &str| {
        let token = token(&json!({ "exp": NOW as f64 + 1.5, "scope": scope }));
        format!("/v1/views/trades/live?interval=100ms&access_token={token}{rest}")
    };
    let router = world.router();
    assert_eq!(send(&router, &Method::GET, &uri("write", ""), None).await.0, StatusCode::FORBIDDEN);
    // What is left of the query is looked at as ever.
    assert_eq!(send(&router, &Method::GET, &uri("read", "&nope=1"), None).await.0, StatusCode::BAD_REQUEST);
    let began = std::time::Instant::now();
    let read = uri("read", "");
    let answer = tokio::time::timeout(Duration::from_secs(30), send(&router, &Method::GET, &read, None));
    let (status, _, body) = answer.await.unwrap();
    assert!(status == StatusCode::OK && String::from_utf8(body).unwrap().contains("event: rows"));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Without tokens there is no such parameter.
    let mut open = world;
    open.api.auth = None;
    assert_eq!(send(&open.router(), &Method::GET, &uri("read", ""), None).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_socket_takes_its_token_from_the_query_and_is_closed_with_it() {
    let world = world();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, world.router(), shutdown.clone(), ServeConfig::default()));
    let url = |token: &str| format!("ws://{address}/v1/live?rows=5&access_token={token}");
    let refused = tokio_tungstenite::connect_async(url("x.y.z")).await.unwrap_err();
    assert!(matches!(refused, tokio_tungstenite::tungstenite::Error::Http(answer) if answer.status() == 401));
    let token = token(&json!({ "exp": NOW as f64 + 1.5, "scope": "read" }));
    let (mut socket, _) = tokio_tungstenite::connect_async(url(&token)).await.unwrap();
    let mut texts = 0;
    let closed = tokio::time::timeout(Duration::from_secs(30), async {
        while let Some(message) = socket.next().await {
            match message.unwrap() {
                Message::Text(_) => texts += 1,
                Message::Close(frame) => return frame,
                _ => {}
            }
        }
        None
    });
    let frame = closed.await.unwrap().unwrap();
    assert!(texts > 0);
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "the token has expired"));
    shutdown.cancel();
    server.await.unwrap().unwrap();
}
