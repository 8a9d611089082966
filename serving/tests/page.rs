//! The web page over HTTP: files, caching, what it may do, and that nothing outside of its folder is served.
#![allow(clippy::unwrap_used)]

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use support::{Event, World};
use tempfile::TempDir;
use tideline_serving::api::Scope;
use tower::ServiceExt;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

async fn get(router: &Router, uri: &str) -> Answer {
    send(router, Request::get(uri).body(Body::empty()).unwrap()).await
}

/// A built page in a folder, beside a file that nobody may read.
fn built() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let web = root.path().join("web");
    std::fs::create_dir_all(web.join("assets")).unwrap();
    std::fs::write(web.join("index.html"), "<!doctype html><title>Tideline</title>").unwrap();
    std::fs::write(web.join("assets/index-Ab12.js"), "export {}").unwrap();
    std::fs::write(web.join("theme.js"), "0").unwrap();
    std::fs::write(root.path().join("secret"), "secret").unwrap();
    root
}

fn router(web: impl Into<std::path::PathBuf>, scope: Scope) -> Router {
    let mut world = World::new(&[Event::new(5, "A", 1, 1.0, 0)], &[], None);
    (world.api.web, world.api.scope) = (web.into(), scope);
    world.router()
}

#[tokio::test]
async fn the_page_is_served_with_a_policy_and_asked_for_again() {
    let root = built();
    let router = router(root.path().join("web"), Scope::Everything);
    for uri in ["/", "/index.html", "/?from=a-link"] {
        let page = get(&router, uri).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html"), "{uri}");
        assert!(page.body.contains("<title>Tideline"), "{uri}");
        assert_eq!(page.header("cache-control"), "no-cache");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe-eval") && policy.contains("frame-ancestors 'none'"), "{policy}");
        // Asked for again, it is not sent again.
        let known = Request::get(uri).header("if-modified-since", page.header("last-modified"));
        let again = send(&router, known.body(Body::empty()).unwrap()).await;
        assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(again.header("cache-control"), "no-cache");
    }
    let head = send(&router, Request::head("/").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn files_with_a_hash_in_their_name_are_kept_for_good() {
    let root = built();
    let router = router(root.path().join("web"), Scope::Everything);
    let script = get(&router, "/assets/index-Ab12.js").await;
    assert_eq!((script.status, script.header("content-type")), (StatusCode::OK, "text/javascript"));
    assert_eq!(script.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(get(&router, "/theme.js").await.header("cache-control"), "no-cache");
    // One of an older build is gone: that is not kept.
    let gone = get(&router, "/assets/index-Old1.js").await;
    assert_eq!((gone.status, gone.header("cache-control")), (StatusCode::NOT_FOUND, ""));
}

#[tokio::test]
async fn what_is_no_file_is_a_problem_and_nothing_outside_of_the_folder_is_served() {
    let root = built();
    let router = router(root.path().join("web"), Scope::Everything);
    let outside = [
        "/nothing",
        "/assets",
        "/assets/",
        "//assets",
        "/../secret",
        "/assets/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/assets/%2e%2e/%2e%2e/secret",
        "/%00",
        "/%ff",
        "/v1/nothing",
        "/v1/../index.html",
    ];
    let long = format!("/{}", "a".repeat(5_000));
    for uri in outside.into_iter().chain([long.as_str()]) {
        let answer = get(&router, uri).await;
        assert!(!answer.body.contains("secret\n") && answer.body != "secret", "{uri}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{uri}");
        let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &json["type"]),
            (StatusCode::NOT_FOUND, &"urn:tideline:problem:unknown-path".into()),
            "{uri}"
        );
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(&method).uri("/").body(Body::empty()).unwrap();
        assert_eq!(send(&router, request).await.status, StatusCode::NOT_FOUND, "{method}");
    }
    // Routes go before files.
    assert_eq!(get(&router, "/healthz").await.body, "ok\n");
}

#[tokio::test]
async fn without_a_build_the_page_says_how_to_make_one() {
    let root = tempfile::tempdir().unwrap();
    let router = router(root.path().join("web"), Scope::Everything);
    let text = get(&router, "/").await;
    assert_eq!((text.status, text.header("content-type")), (StatusCode::OK, "text/plain; charset=utf-8"));
    assert!(text.body.contains("make web") && text.body.contains("/openapi.json"), "{}", text.body);
    assert_eq!(get(&router, "/theme.js").await.status, StatusCode::NOT_FOUND);
    // Built while the server runs, it is found.
    std::fs::create_dir(root.path().join("web")).unwrap();
    std::fs::write(root.path().join("web/index.html"), "<title>Tideline</title>").unwrap();
    assert!(get(&router, "/").await.body.contains("<title>"));
}

#[tokio::test]
async fn a_role_that_answers_no_queries_has_no_page() {
    let root = built();
    for scope in [Scope::Ingest, Scope::Batch, Scope::Operations] {
        let router = router(root.path().join("web"), scope);
        assert_eq!(get(&router, "/").await.status, StatusCode::NOT_FOUND);
        assert_eq!(get(&router, "/healthz").await.status, StatusCode::OK);
    }
}
