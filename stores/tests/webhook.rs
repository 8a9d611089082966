//! Webhooks against a server of this process.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use bytes::Bytes;
use tideline_common::ports::{PortError, Webhook, WebhookPost};
use tideline_common::time::Timestamp;
use tideline_stores::webhook::{HttpWebhook, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that takes one request and gives one answer; `None`: it never does.
async fn server(answer: Option<&'static str>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token=hush", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut part = [0; 4_096];
        loop {
            let read = stream.read(&mut part).await.unwrap();
            request.extend_from_slice(&part[..read]);
            if read == 0 || request.ends_with(b"}") {
                break;
            }
        }
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
        String::from_utf8(request).unwrap()
    });
    (url, task)
}

fn post(url: String, secret: Option<&str>) -> WebhookPost {
    WebhookPost {
        url,
        id: "0f0f".to_owned(),
        secret: secret.map(str::to_owned),
        at: Timestamp(1_700_000_000_900_000),
        body: Bytes::from_static(br#"{"a":1}"#),
        timeout: Duration::from_secs(20),
    }
}

/// The value of a header of a request.
fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let is_it = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
    Some(request.lines().find(is_it)?.split_once(':')?.1.trim())
}

#[tokio::test]
async fn a_post_says_what_it_is_and_who_sends_it() {
    let (url, task) = server(Some("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let answer = HttpWebhook::new().unwrap().post(&post(url, Some("hush"))).await.unwrap();
    assert!(answer.is_taken() && answer.retry_after.is_none());
    let request = task.await.unwrap();
    assert!(request.starts_with("POST /hook?token=hush HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert_eq!(header(&request, ID_HEADER), Some("0f0f"));
    assert_eq!(header(&request, TIMESTAMP_HEADER), Some("1700000000"));
    assert_eq!(header(&request, SIGNATURE_HEADER), Some(signature("hush", 1_700_000_000, br#"{"a":1}"#).as_str()));
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let (url, task) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await;
    assert!(HttpWebhook::new().unwrap().post(&post(url, None)).await.unwrap().is_taken());
    assert_eq!(header(&task.await.unwrap(), SIGNATURE_HEADER), None);
}

#[tokio::test]
async fn answers_are_told_as_they_are() {
    for (answer, status, wait) in [
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", 500, None),
        ("HTTP/1.1 429 Slower\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", 429, Some(7)),
        // Not followed.
        ("HTTP/1.1 307 There\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 307, None),
    ] {
        let (url, _task) = server(Some(answer)).await;
        let answer = HttpWebhook::new().unwrap().post(&post(url, None)).await.unwrap();
        assert_eq!((answer.status, answer.retry_after), (status, wait.map(Duration::from_secs)));
    }
}

#[tokio::test]
async fn one_that_does_not_answer_is_tried_again_and_its_address_is_nobodys_business() {
    let (url, _task) = server(None).await;
    let slow = WebhookPost { timeout: Duration::from_millis(50), ..post(url, None) };
    let error = HttpWebhook::new().unwrap().post(&slow).await.unwrap_err();
    assert!(error.is_retryable() && !error.to_string().contains("hush"), "{error}");
    // Nobody listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}/hush", listener.local_addr().unwrap());
    drop(listener);
    let error = HttpWebhook::new().unwrap().post(&post(gone, None)).await.unwrap_err();
    assert!(error.is_retryable() && !error.to_string().contains("hush"), "{error}");
    let error = HttpWebhook::new().unwrap().post(&post("http://".to_owned(), None)).await.unwrap_err();
    assert!(matches!(error, PortError::Invalid { .. }), "{error}");
}
