//! Objects in S3, against the server named by `TIDELINE_TEST_S3`: the suite of the port, races, paging, faults on the
//! way, and what a columnar reader is told.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::signer::Signer;
use polars::prelude::cloud::CloudOptions;
use polars::prelude::{
    DataFrame, LazyFrame, NamedFrom, ParquetReader, ParquetWriter, PlRefPath, ScanArgsParquet, SerReader, Series,
};
use tideline_common::ports::{Created, Location, Objects, PortError};
use tideline_stores::conformance::{self, Fixture};
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::objects::s3::S3Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BUCKET: &str = "tideline-test";
const KEY: &str = "minioadmin";

/// Address of the server; without one the test is skipped, and says so.
fn endpoint(test: &str) -> Option<String> {
    let endpoint = std::env::var("TIDELINE_TEST_S3").ok().filter(|endpoint| !endpoint.is_empty());
    if endpoint.is_none() {
        eprintln!("SKIPPED {test}: TIDELINE_TEST_S3 is not set");
    }
    endpoint
}

/// Creates the bucket of the tests, if it is not there.
async fn make_bucket(endpoint: &str) {
    static MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let make = || async {
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(KEY)
            .with_bucket_name(BUCKET)
            .build()
            .unwrap();
        let url = store.signed_url(reqwest::Method::PUT, &Path::default(), Duration::from_mins(1)).await.unwrap();
        let answer = reqwest::Client::new().put(url.as_str()).send().await.unwrap();
        // A conflict: it is there already.
        assert!(answer.status().is_success() || answer.status() == 409, "{answer:?}");
    };
    MADE.get_or_init(make).await;
}

/// A prefix that no other test, and no earlier run, has.
fn prefix() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let now = tideline_common::ports::Clock::now(&tideline_stores::clock::SystemClock).0;
    format!("{now}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn config(endpoint: &str) -> S3Config {
    S3Config {
        endpoint: Some(endpoint.to_owned()),
        access_key: Some(KEY.to_owned()),
        secret_key: Some(KEY.to_owned()),
        ..S3Config::new(format!("s3://{BUCKET}/{}", prefix()))
    }
}

async fn open(endpoint: &str) -> ObjectStoreObjects {
    make_bucket(endpoint).await;
    ObjectStoreObjects::s3(&config(endpoint)).unwrap()
}

/// A lake of its own, opened again and again.
struct Lake(S3Config);

#[async_trait]
impl Fixture<dyn Objects> for Lake {
    async fn open(&mut self) -> Arc<dyn Objects> {
        Arc::new(ObjectStoreObjects::s3(&self.0).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_of_the_port() {
    let Some(endpoint) = endpoint("the_suite_of_the_port") else { return };
    make_bucket(&endpoint).await;
    conformance::objects::suite(|| Lake(config(&endpoint))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_create_a_path_one_wins_also_over_several_clients() {
    let Some(endpoint) = endpoint("of_many_that_create_a_path_one_wins_also_over_several_clients") else { return };
    make_bucket(&endpoint).await;
    let config = config(&endpoint);
    let clients: Vec<_> = (0..4).map(|_| ObjectStoreObjects::s3(&config).unwrap()).collect();
    for round in 0..40 {
        let path = format!("race/{round:03}");
        let attempts = (0..16).map(|writer| {
            let (objects, path) = (clients[writer % clients.len()].clone(), path.clone());
            tokio::spawn(async move {
                let bytes = Bytes::from(format!("{writer:02}").repeat(10_000 + writer));
                (bytes.clone(), objects.put_if_absent(&path, bytes).await.unwrap())
            })
        });
        let outcomes = futures::future::join_all(attempts).await;
        let mut winners = outcomes.into_iter().map(Result::unwrap).filter(|(_, created)| *created == Created::Yes);
        let winner = winners.next().expect("one wins").0;
        assert!(winners.next().is_none(), "and only one");
        assert_eq!(clients[0].get(&path).await.unwrap(), winner);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_go_over_pages() {
    let Some(endpoint) = endpoint("listings_go_over_pages") else { return };
    let objects = open(&endpoint).await;
    // Three pages of a thousand.
    let paths: Vec<String> = (0..2_300).map(|n| format!("bronze/s/0/{:020}.parquet", n * 7)).collect();
    let others = ["bronze/s2/x".to_owned(), "bronze/s/1/y".to_owned()];
    let puts = paths.iter().chain(&others).map(|path| {
        let (objects, path) = (objects.clone(), path.clone());
        async move { objects.put(&path, Bytes::from_static(b"x")).await }
    });
    futures::stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(32).try_collect::<Vec<()>>().await.unwrap();
    let of = |list: Vec<tideline_common::ports::ObjectInfo>| list.into_iter().map(|o| o.path).collect::<Vec<_>>();
    assert_eq!(of(objects.list("bronze/s/0").await.unwrap()), paths, "all, in order, and no neighbour");
    for after in [0, 999, 1_000, 1_001, 2_298, 2_299] {
        let rest = of(objects.list_after("bronze/s/0", &paths[after]).await.unwrap());
        assert_eq!(rest, paths[after + 1..], "after {after}");
    }
    let between = format!("bronze/s/0/{:020}.parquet", 7 * 1_200 - 1);
    assert_eq!(of(objects.list_after("bronze/s/0", &between).await.unwrap()), paths[1_200..]);
    assert_eq!(objects.list("bronze").await.unwrap().len(), paths.len() + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_come_back() {
    let Some(endpoint) = endpoint("large_objects_come_back") else { return };
    let objects = open(&endpoint).await;
    let bytes: Bytes = (0..24_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    objects.put("large/put", bytes.clone()).await.unwrap();
    assert!(objects.get("large/put").await.unwrap() == bytes);
    assert_eq!(objects.put_if_absent("large/new", bytes.clone()).await.unwrap(), Created::Yes);
    assert_eq!(objects.put_if_absent("large/new", bytes.slice(1..)).await.unwrap(), Created::Exists);
    assert!(objects.get("large/new").await.unwrap() == bytes);
    let sizes: Vec<u64> = objects.list("large").await.unwrap().iter().map(|object| object.size).collect();
    assert_eq!(sizes, [bytes.len() as u64; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_character_of_a_path_is_kept_also_for_polars() {
    let Some(endpoint) = endpoint("every_character_of_a_path_is_kept_also_for_polars") else { return };
    let objects = open(&endpoint).await;
    let names = [
        "plain",
        "symbol=$TSLA",
        "symbol=%24TSLA",
        "a b",
        "50%",
        "é",
        "c+d",
        "q?a=b&c",
        "x#y",
        "[1]*{a,b}",
        "a:b",
        "emoji🌊",
        "'\"<>",
        "~",
    ];
    for (row, name) in (0..).zip(names) {
        let mut bytes = Vec::new();
        let mut frame = DataFrame::new(1, vec![Series::new("n".into(), &[i64::from(row)]).into()]).unwrap();
        ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
        objects.put(&format!("silver/{name}/1.parquet"), Bytes::from(bytes)).await.unwrap();
    }
    let listed: BTreeSet<String> = objects.list("silver").await.unwrap().into_iter().map(|o| o.path).collect();
    assert_eq!(listed, names.iter().map(|name| format!("silver/{name}/1.parquet")).collect());
    for (row, name) in (0..).zip(names) {
        let path = format!("silver/{name}/1.parquet");
        let fetched = objects.get(&path).await.unwrap();
        let frame = ParquetReader::new(Cursor::new(fetched)).finish();
        assert_eq!(frame.unwrap().column("n").unwrap().i64().unwrap().get(0), Some(row), "{name}");
        // What batch does: Polars opens the object by itself.
        let Location::S3 { url, options } = objects.location(&path) else { panic!("it is in S3") };
        let read = tokio::task::spawn_blocking(move || {
            let path = PlRefPath::new(url.as_str());
            let args = ScanArgsParquet {
                cloud_options: Some(CloudOptions::from_untyped_config(path.scheme(), options).unwrap()),
                glob: false,
                ..ScanArgsParquet::default()
            };
            LazyFrame::scan_parquet(path, args).and_then(LazyFrame::collect)
        });
        let frame = read.await.unwrap().unwrap();
        assert_eq!(frame.column("n").unwrap().i64().unwrap().get(0), Some(row), "{name}, read by Polars");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_and_absent_buckets_are_errors_of_the_store() {
    let Some(endpoint) = endpoint("wrong_keys_and_absent_buckets_are_errors_of_the_store") else { return };
    make_bucket(&endpoint).await;
    let wrong = S3Config { secret_key: Some("not-the-secret".to_owned()), ..config(&endpoint) };
    let absent = S3Config { url: "s3://tideline-not-there/x".to_owned(), ..config(&endpoint) };
    for config in [wrong, absent] {
        let objects = ObjectStoreObjects::s3(&config).unwrap();
        for error in [
            objects.get("a").await.unwrap_err(),
            objects.put("a", Bytes::new()).await.unwrap_err(),
            objects.put_if_absent("a", Bytes::new()).await.unwrap_err(),
            objects.list("a").await.unwrap_err(),
            objects.delete("a").await.unwrap_err(),
        ] {
            // Never "the object is not there": a reader would take the lake for empty.
            assert!(matches!(error, PortError::Unavailable { .. }), "{error:?}");
            assert!(!error.to_string().contains("not-the-secret"));
        }
    }
}

/// What happens to connections on their way.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    /// All goes through.
    Open,
    /// Connections are closed at once, as those of a server that is down.
    Down,
    /// Nothing goes through, and nothing is closed.
    Silent,
    /// Requests go through; what is answered is lost, and the connection with it.
    Deaf,
}

/// A way to the server that can be disturbed.
#[derive(Clone)]
struct Proxy {
    way: Arc<AtomicU8>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    address: SocketAddr,
}

impl Proxy {
    async fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            way: Arc::new(AtomicU8::new(Way::Open as u8)),
            open: Arc::default(),
            most: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let server = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let this = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (this, server) = (this.clone(), server.clone());
                tokio::spawn(async move {
                    this.most.fetch_max(this.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    this.connect(client, &server).await;
                    this.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        proxy
    }

    fn set(&self, way: Way) {
        self.way.store(way as u8, Ordering::SeqCst);
    }

    fn is(&self, way: Way) -> bool {
        self.way.load(Ordering::SeqCst) == way as u8
    }

    /// Carries bytes both ways until one side ends, or the way changes.
    async fn connect(&self, mut client: TcpStream, server: &str) {
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            if self.is(Way::Down) {
                return;
            }
            if self.is(Way::Silent) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            let done = tokio::select! {
                read = client.read(&mut up) => match read {
                    Ok(n) if n > 0 && !self.is(Way::Down) => server.write_all(&up[..n]).await.is_err(),
                    _ => true,
                },
                read = server.read(&mut down) => match read {
                    Ok(n) if n > 0 && self.is(Way::Open) => client.write_all(&down[..n]).await.is_err(),
                    _ => true,
                },
                () = tokio::time::sleep(Duration::from_millis(50)) => false,
            };
            if done {
                return;
            }
        }
    }
}

/// A lake whose server can be disturbed, and whose patience is short.
async fn disturbed(endpoint: &str) -> (Proxy, ObjectStoreObjects, S3Config) {
    make_bucket(endpoint).await;
    let proxy = Proxy::start(endpoint).await;
    let config = S3Config {
        endpoint: Some(format!("http://{}", proxy.address)),
        read_timeout: Duration::from_millis(500),
        max_retries: 2,
        ..config(endpoint)
    };
    (proxy, ObjectStoreObjects::s3(&config).unwrap(), config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_within_a_bound_and_passes() {
    let Some(endpoint) = endpoint("an_outage_is_told_within_a_bound_and_passes") else { return };
    let (proxy, objects, _) = disturbed(&endpoint).await;
    objects.put("a/1", Bytes::from_static(b"1")).await.unwrap();
    for way in [Way::Down, Way::Silent] {
        proxy.set(way);
        let began = Instant::now();
        for error in [
            objects.get("a/1").await.unwrap_err(),
            objects.put("a/2", Bytes::new()).await.unwrap_err(),
            objects.put_if_absent("a/3", Bytes::new()).await.unwrap_err(),
            objects.list("a").await.unwrap_err(),
            objects.delete("a/1").await.unwrap_err(),
        ] {
            assert!(matches!(error, PortError::Unavailable { .. }), "{error:?}");
        }
        // Five calls of at most three tries, each of half a second and a pause of at most two.
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
        proxy.set(Way::Open);
        assert_eq!(objects.get("a/1").await.unwrap(), "1", "the same client goes on");
    }
    assert!(objects.list("a").await.unwrap().iter().any(|object| object.path == "a/1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_answer_is_lost_meets_itself() {
    let Some(endpoint) = endpoint("a_put_whose_answer_is_lost_meets_itself") else { return };
    let (proxy, objects, config) = disturbed(&endpoint).await;
    let direct = ObjectStoreObjects::s3(&S3Config { endpoint: Some(endpoint), ..config }).unwrap();
    proxy.set(Way::Deaf);
    let answer = objects.put_if_absent("bronze/1", Bytes::from_static(b"mine")).await;
    // Not "yes", which nobody has said; and not "exists" of a sight of itself that would be taken for another's.
    assert!(matches!(&answer, Err(PortError::Unavailable { .. }) | Ok(Created::Exists)), "{answer:?}");
    let until = Instant::now() + Duration::from_secs(10);
    while direct.list("bronze").await.unwrap().is_empty() {
        assert!(Instant::now() < until, "the request has gone through");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.set(Way::Open);
    assert_eq!(objects.put_if_absent("bronze/1", Bytes::from_static(b"mine")).await.unwrap(), Created::Exists);
    assert_eq!(objects.get("bronze/1").await.unwrap(), "mine", "what a caller then finds is its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_a_time_are_bounded() {
    let Some(endpoint) = endpoint("requests_at_a_time_are_bounded") else { return };
    let (proxy, _, config) = disturbed(&endpoint).await;
    let config = S3Config { max_requests: 4, read_timeout: Duration::from_secs(15), ..config };
    let objects = ObjectStoreObjects::s3(&config).unwrap();
    let bytes = Bytes::from(vec![7; 200_000]);
    let puts = (0..100).map(|n| {
        let (objects, bytes) = (objects.clone(), bytes.clone());
        tokio::spawn(async move { objects.put(&format!("a/{n}"), bytes).await })
    });
    for put in futures::future::join_all(puts).await {
        put.unwrap().unwrap();
    }
    assert_eq!(objects.list("a").await.unwrap().len(), 100);
    // Some more than four: a connection may be made while another becomes free.
    let most = proxy.most.load(Ordering::SeqCst);
    assert!(most <= 12, "{most} connections at a time");
}
