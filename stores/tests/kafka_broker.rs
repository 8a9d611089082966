//! The log and the membership on a Kafka broker of their own: one that is killed and comes back, one that speaks TLS and
//! wants to know who asks; and a member that is stopped for longer than its group waits.
//!
//! `TIDELINE_TEST_KAFKA` says that a broker can be had here; the first two start theirs with `infra/services/kafka.sh`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests; names are made of the wall clock")]

#[path = "support/kafka.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use support::{broker, spec, unique};
use tideline_common::ports::{Log, Membership, PortError, ReadRequest, Rebalance};
use tideline_common::position::Offset;
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::Timestamp;
use tideline_stores::log::kafka::{KafkaLog, KafkaLogConfig, KafkaMembership};

/// How long a test waits for what is certain to come.
const SOON: Duration = Duration::from_mins(1);

fn config(broker: &str, properties: &[(&str, &str)]) -> KafkaLogConfig {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    KafkaLogConfig { properties, ..KafkaLogConfig::new(vec![broker.to_owned()], unique("group")) }
}

fn record(text: &str) -> NewRecord {
    NewRecord { payload: Bytes::copy_from_slice(text.as_bytes()), ..NewRecord::default() }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.payload.to_vec()).unwrap()
}

fn request(topic: &str, from: Offset) -> ReadRequest {
    ReadRequest {
        topic: topic.to_owned(),
        partition: 0,
        from,
        max_records: 1_000,
        max_bytes: 1 << 20,
        wait: Duration::from_millis(200),
    }
}

/// Partition 0 from its beginning to `end`, whatever happens to the broker meanwhile.
async fn read_to(log: &dyn Log, topic: &str, end: Offset) -> Vec<Record> {
    let (mut all, deadline): (Vec<Record>, _) = (Vec::new(), Instant::now() + SOON);
    while (all.len() as Offset) < end {
        assert!(Instant::now() < deadline, "{} of {end} records", all.len());
        match log.read(&request(topic, all.len() as Offset)).await {
            Ok(records) => all.extend(records),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    assert!(all.iter().enumerate().all(|(at, record)| record.offset == at as Offset), "once and in order");
    all
}

/// `count` ports that nobody listens on, below those of outgoing connections, one of which could else take the port of
/// a broker while it is down.
fn free_ports(count: usize) -> Vec<u16> {
    // No two tests of this process try the same one, as all are given back before a broker takes them.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let held: Vec<TcpListener> = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed))
        .map(|n| 10_000 + ((std::process::id() * 131 + n * 7_919) % 20_000) as u16)
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .take(count)
        .collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// A broker of a test's own, gone when it ends.
struct Broker {
    folder: tempfile::TempDir,
    /// Plain, its controller's, and two more that properties may use.
    ports: Vec<u16>,
    properties: String,
    format: String,
}

impl Broker {
    fn new() -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), free_ports(4));
        Self { folder, ports, properties: String::new(), format: String::new() }
    }

    fn address(&self, port: usize) -> String {
        format!("127.0.0.1:{}", self.ports[port])
    }

    /// `kafka.sh ACTION`, with what it has printed when it fails.
    fn run(&self, action: &str) -> Result<(), String> {
        let said = self.folder.path().join("said");
        let out = std::fs::File::create(&said).unwrap();
        let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/services/kafka.sh"))
            .arg(action)
            .env("SERVICES_DATA", self.folder.path())
            .env("KAFKA_PORT", self.ports[0].to_string())
            .env("KAFKA_CONTROLLER_PORT", self.ports[1].to_string())
            .env("KAFKA_HEAP", "256m")
            .env("KAFKA_EXTRA_PROPS", &self.properties)
            .env("KAFKA_FORMAT_ARGS", &self.format)
            .stdin(Stdio::null())
            // A file: the broker keeps what it inherits open.
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        if status.success() { Ok(()) } else { Err(std::fs::read_to_string(said).unwrap()) }
    }

    async fn tell(self: &Arc<Self>, action: &'static str) {
        let broker = Arc::clone(self);
        tokio::task::spawn_blocking(move || broker.run(action)).await.unwrap().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(said) = self.run("wipe") {
            eprintln!("{said}");
        }
    }
}

/// What a group has committed for partition 0.
async fn committed(broker: &str, group: &str, topic: &str) -> Option<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("group.id", group);
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let found = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.committed_offsets(list, SOON).unwrap().elements()[0].offset()
    });
    match found.await.unwrap() {
        KafkaOffset::Offset(offset) => Some(offset),
        _ => None,
    }
}

async fn until_committed(broker: &str, group: &str, topic: &str, is_it: impl Fn(i64) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let found = committed(broker, group, topic).await;
        if found.is_some_and(&is_it) {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The next partitions that a member is given, with what it must put down before that.
async fn assigned(member: &dyn Membership) -> Vec<(String, u32)> {
    loop {
        match tokio::time::timeout(SOON, member.next()).await.expect("it is told").unwrap() {
            Rebalance::Assigned(partitions) => return partitions,
            Rebalance::Revoked { handover, .. } => drop(handover),
            Rebalance::Lost(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_has_what_it_acknowledged() {
    if broker("a_broker_that_is_killed_and_comes_back_has_what_it_acknowledged").is_none() {
        return;
    }
    let broker = Arc::new(Broker::new());
    broker.tell("start").await;
    let (address, topic) = (broker.address(0), "t".to_owned());
    let config = KafkaLogConfig { request_timeout: Duration::from_secs(5), ..config(&address, &[]) };
    let patient = KafkaLogConfig { request_timeout: SOON, ..config.clone() };
    KafkaLog::new(patient).unwrap().ensure_topic(&spec(&topic, 1)).await.unwrap();
    let log = Arc::new(KafkaLog::new(config.clone()).unwrap());
    let membership = Arc::new(KafkaMembership::new(config.clone()).unwrap());
    log.note_progress_as(&membership);
    membership.join(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(assigned(&*membership).await, [(topic.clone(), 0)]);
    // Changes are taken all the time, as a worker does; it may be told that it has lost the partition, and gets it again.
    let has = Arc::new(AtomicBool::new(true));
    let listener = tokio::spawn({
        let (membership, has) = (Arc::clone(&membership), Arc::clone(&has));
        async move {
            while let Ok(change) = membership.next().await {
                has.store(matches!(change, Rebalance::Assigned(_)), Ordering::SeqCst);
            }
        }
    });

    // What was acknowledged, by its first offset. After a failure the records of the append may be there or not.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (log, topic, stop) = (Arc::clone(&log), topic.clone(), Arc::clone(&stop));
        async move {
            let (mut acknowledged, mut failures) = (BTreeMap::new(), 0);
            for n in 0_u64.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let batch: Vec<NewRecord> = (0..10).map(|i| record(&format!("{n} {i}"))).collect();
                match log.append(&topic, batch, Timestamp(0)).await {
                    Ok(appended) => {
                        acknowledged.insert(appended[&0].0, n);
                    }
                    Err(error) => {
                        assert!(error.is_retryable(), "{error:?}");
                        failures += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (acknowledged, failures)
        }
    });
    let end = async || log.topic(&topic).await.map_or(0, |info| info.partitions[&0].1);
    let until_end = async |past: Offset| {
        let deadline = Instant::now() + SOON;
        while end().await <= past {
            assert!(Instant::now() < deadline, "nothing is appended any more");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // A reader that goes on all the while, through both ends of the broker.
    let until = Arc::new(AtomicU64::new(Offset::MAX));
    let reader = tokio::spawn({
        let (log, topic, until) = (Arc::clone(&log), topic.clone(), Arc::clone(&until));
        async move {
            let mut all: Vec<Record> = Vec::new();
            while (all.len() as Offset) < until.load(Ordering::SeqCst) {
                match log.read(&request(&topic, all.len() as Offset)).await {
                    Ok(records) => all.extend(records),
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
            }
            all
        }
    });
    until_end(200).await;
    for action in ["kill", "stop"] {
        let before = end().await;
        broker.tell(action).await;
        let error = log.append(&topic, vec![record("nobody there")], Timestamp(0)).await.unwrap_err();
        assert!(matches!(error, PortError::Unavailable { .. }), "{action}: {error:?}");
        broker.tell("start").await;
        until_end(before + 100).await;
    }
    stop.store(true, Ordering::SeqCst);
    let (acknowledged, failures) = writer.await.unwrap();
    assert!(failures > 0, "the writer has not seen the broker go");
    let end = end().await;
    until.store(end, Ordering::SeqCst);
    let seen = tokio::time::timeout(SOON, reader).await.expect("the reader goes on").unwrap();
    let again = read_to(&KafkaLog::new(config.clone()).unwrap(), &topic, end).await;
    assert_eq!(seen.len() as Offset, end);
    assert_eq!(seen.iter().map(text).collect::<Vec<_>>(), again.iter().map(text).collect::<Vec<_>>());
    assert!(seen.iter().enumerate().all(|(at, record)| record.offset == at as Offset), "once and in order");
    for (first, n) in &acknowledged {
        for i in 0..10 {
            assert_eq!(text(&seen[(first + i) as usize]), format!("{n} {i}"), "acknowledged at {first}");
        }
    }
    // The group goes on: the member has its partition, and commits.
    let deadline = Instant::now() + SOON;
    while !has.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "it does not get its partition again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    log.commit_hint(&config.group, &topic, 0, end).await.unwrap();
    until_committed(&address, &config.group, &topic, |offset| offset as Offset == end).await;
    membership.leave().await.unwrap();
    listener.await.unwrap();
}

/// Certificates of an authority that nobody knows: `ca.pem`, and for the broker and a client a key store each. Made by
/// `keytool`, which is where java is.
fn certificates(folder: &Path) {
    let keytool = |args: &str| {
        let output = Command::new("keytool")
            .args(args.split(' '))
            .args(["-storepass", "changeit"])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "keytool {args}: {}", String::from_utf8_lossy(&output.stdout));
    };
    keytool("-genkeypair -alias ca -dname CN=authority -ext bc:c=ca:true -keyalg RSA -validity 3 -keystore ca.p12");
    keytool("-exportcert -rfc -alias ca -keystore ca.p12 -file ca.pem");
    for who in ["broker", "client"] {
        keytool(&format!("-genkeypair -alias {who} -dname CN={who} -keyalg RSA -validity 3 -keystore {who}.p12"));
        keytool(&format!("-certreq -alias {who} -keystore {who}.p12 -file {who}.csr"));
        keytool(&format!(
            "-gencert -rfc -alias ca -keystore ca.p12 -infile {who}.csr -outfile {who}.pem -validity 3 -ext san=ip:127.0.0.1"
        ));
        keytool(&format!("-importcert -noprompt -alias ca -keystore {who}.p12 -file ca.pem"));
        keytool(&format!("-importcert -alias {who} -keystore {who}.p12 -file {who}.pem"));
    }
    // Of another authority.
    keytool("-genkeypair -alias other -dname CN=other -ext bc:c=ca:true -keyalg RSA -validity 3 -keystore other.p12");
    keytool("-exportcert -rfc -alias other -keystore other.p12 -file other.pem");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_passwords_are_properties() {
    if broker("tls_and_passwords_are_properties").is_none() {
        return;
    }
    let mut broker = Broker::new();
    let path = |name: &str| broker.folder.path().join(name).to_str().unwrap().to_owned();
    certificates(broker.folder.path());
    let (ca, other_ca, client) = (path("ca.pem"), path("other.pem"), path("client.p12"));
    let listeners =
        format!("PLAINTEXT://{},SASL_SSL://{},SSL://{}", broker.address(0), broker.address(2), broker.address(3));
    let security = "org.apache.kafka.common.security";
    broker.properties = [
        format!("listeners={listeners},CONTROLLER://{}", broker.address(1)),
        format!("advertised.listeners={listeners}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL".to_owned(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512".to_owned(),
        format!(
            "listener.name.sasl_ssl.plain.sasl.jaas.config={security}.plain.PlainLoginModule required \
             user_plain=\"plain-secret\";"
        ),
        format!("listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;"),
        "ssl.keystore.type=PKCS12".to_owned(),
        format!("ssl.keystore.location={}", path("broker.p12")),
        "ssl.keystore.password=changeit".to_owned(),
        "ssl.key.password=changeit".to_owned(),
        "ssl.truststore.type=PKCS12".to_owned(),
        format!("ssl.truststore.location={}", path("broker.p12")),
        "ssl.truststore.password=changeit".to_owned(),
        "listener.name.ssl.ssl.client.auth=required".to_owned(),
    ]
    .join("\n");
    broker.format = "--add-scram SCRAM-SHA-512=[name=scram,password=scram-secret]".to_owned();
    let (sasl, ssl) = (broker.address(2), broker.address(3));
    let broker = Arc::new(broker);
    broker.tell("start").await;

    let user = |mechanism, name, password| {
        vec![
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", ca.as_str()),
            ("sasl.mechanism", mechanism),
            ("sasl.username", name),
            ("sasl.password", password),
        ]
    };
    let certificate = vec![
        ("security.protocol", "ssl"),
        ("ssl.ca.location", ca.as_str()),
        ("ssl.keystore.location", client.as_str()),
        ("ssl.keystore.password", "changeit"),
    ];
    let plain = user("PLAIN", "plain", "plain-secret");
    for (name, address, properties) in [
        ("plain", &sasl, &plain),
        ("scram", &sasl, &user("SCRAM-SHA-512", "scram", "scram-secret")),
        ("certificate", &ssl, &certificate),
    ] {
        // Every kind of client has them: of topics, of appends, of reads, of the group.
        let config = config(address, properties);
        let log = KafkaLog::new(config.clone()).unwrap();
        log.ensure_topic(&spec(name, 1)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let appended = log.append(name, vec![record("one"), record("two")], Timestamp(0)).await.unwrap();
        assert_eq!(appended, BTreeMap::from([(0, (0, 2))]), "{name}");
        assert_eq!(read_to(&log, name, 2).await.iter().map(text).collect::<Vec<_>>(), ["one", "two"]);
        let member = KafkaMembership::new(config.clone()).unwrap();
        log.note_progress_as(&member);
        member.join(&[name.to_owned()]).await.unwrap();
        assert_eq!(assigned(&member).await, [(name.to_owned(), 0)]);
        log.commit_hint(&config.group, name, 0, 2).await.unwrap();
        until_committed(&broker.address(0), &config.group, name, |offset| offset == 2).await;
        member.leave().await.unwrap();
    }

    // Who is not let in is told so in time, without a secret, and nothing is taken from it.
    let with = |properties: &[(&'static str, &str)], key: &str, value: &'static str| {
        let changed = |(k, v): &(&'static str, &str)| (*k, if *k == key { value.to_owned() } else { (*v).to_owned() });
        properties.iter().map(changed).collect::<Vec<_>>()
    };
    let without = |key: &str| -> Vec<_> {
        let kept = certificate.iter().filter(|(k, _)| !k.starts_with(key));
        kept.map(|(k, v)| (*k, (*v).to_owned())).collect()
    };
    let mut stranger = with(&plain, "", "");
    stranger[1].1.clone_from(&other_ca);
    for (name, address, properties) in [
        ("a wrong password", &sasl, with(&plain, "sasl.password", "not-the-secret")),
        ("an unknown user", &sasl, with(&plain, "sasl.username", "nobody")),
        ("another authority", &sasl, stranger),
        ("no certificate", &ssl, without("ssl.keystore")),
        ("no encryption", &sasl, vec![("security.protocol", "plaintext".to_owned())]),
    ] {
        let properties: Vec<(&str, &str)> = properties.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let config = KafkaLogConfig { request_timeout: Duration::from_secs(3), ..config(address, &properties) };
        let log = KafkaLog::new(config).unwrap();
        let began = Instant::now();
        let read = request("plain", 0);
        let (topic, append, read) =
            tokio::join!(log.topic("plain"), log.append("plain", vec![record("three")], Timestamp(0)), log.read(&read));
        for error in [topic.map(drop), append.map(drop), read.map(drop)].map(Result::unwrap_err) {
            assert!(matches!(error, PortError::Unavailable { .. }), "{name}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{name}: {error:?}");
        }
        assert!(began.elapsed() < SOON, "{name}: bounded");
    }
    let log = KafkaLog::new(config(&sasl, &plain)).unwrap();
    assert_eq!(log.topic("plain").await.unwrap().partitions[&0], (0, 2));
}

/// `broker|group|topic`; set only in the process that is stopped.
const MEMBER: &str = "TIDELINE_STOPPED_MEMBER";

/// How often the member that was stopped tries to commit after it has learnt that its partition is lost: for longer than
/// commits of one partition are held back.
const TRIES: usize = 70;

/// A member of another process: tries to commit all the time, and says what it is told.
#[test]
fn member() {
    let Ok(told) = std::env::var(MEMBER) else { return };
    let [broker, group, topic] = told.split('|').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let (group, topic) = (group.to_owned(), topic.to_owned());
    let config =
        KafkaLogConfig { group: group.clone(), session_timeout: Duration::from_secs(2), ..config(broker, &[]) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = Arc::new(KafkaLog::new(config.clone()).unwrap());
        let membership = KafkaMembership::new(config).unwrap();
        log.note_progress_as(&membership);
        membership.join(std::slice::from_ref(&topic)).await.unwrap();
        assert_eq!(assigned(&membership).await, [(topic.clone(), 0)]);
        println!("ASSIGNED");
        let lost = Arc::new(AtomicBool::new(false));
        let commits = tokio::spawn({
            let lost = Arc::clone(&lost);
            async move {
                let mut tries = 0;
                for n in 1.. {
                    log.commit_hint(&group, &topic, 0, n).await.unwrap();
                    tries += usize::from(lost.load(Ordering::SeqCst));
                    if tries == TRIES {
                        println!("TRIED");
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        loop {
            match membership.next().await.unwrap() {
                Rebalance::Lost(partitions) => {
                    println!("LOST {partitions:?}");
                    lost.store(true, Ordering::SeqCst);
                    break;
                }
                other => println!("{other:?}"),
            }
        }
        // It stays a member, of which nobody wants anything.
        let attended = async {
            loop {
                println!("{:?}", membership.next().await.unwrap());
            }
        };
        tokio::select! {
            done = commits => done.unwrap(),
            () = attended => {}
        }
        membership.leave().await.unwrap();
    });
}

/// The process of [`member`], gone when the test ends.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Other {
    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_stopped_is_told_that_it_lost_and_commits_no_more() {
    let Some(broker) = broker("a_member_that_was_stopped_is_told_that_it_lost_and_commits_no_more") else { return };
    let (config, topic) = (config(&broker, &[]), unique("stopped"));
    let config = KafkaLogConfig { session_timeout: Duration::from_secs(2), ..config };
    let log = KafkaLog::new(config.clone()).unwrap();
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    let mut other = Other(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "member", "--nocapture"])
            .env(MEMBER, [&broker, &config.group, &topic].map(String::as_str).join("|"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let (says, mut said) = tokio::sync::mpsc::unbounded_channel();
    let out = BufReader::new(other.0.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(says.send(line))));
    // libtest may print before it on the same line.
    let mut until_said = async |what: &str| {
        let found = async {
            while let Some(line) = said.recv().await {
                if line.contains(what) {
                    return line;
                }
            }
            panic!("it ended without {what}");
        };
        tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("it does not say {what}"))
    };
    until_said("ASSIGNED").await;
    until_committed(&broker, &config.group, &topic, |offset| offset > 0).await;

    other.signal("-STOP");
    let ours = KafkaMembership::new(config.clone()).unwrap();
    log.note_progress_as(&ours);
    ours.join(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(assigned(&ours).await, [(topic.clone(), 0)], "after the session of the other one");
    let far = 1_000_000;
    log.commit_hint(&config.group, &topic, 0, far).await.unwrap();
    until_committed(&broker, &config.group, &topic, |offset| offset as Offset == far).await;

    other.signal("-CONT");
    let lost = until_said("LOST").await;
    assert!(lost.contains(&topic), "{lost}");
    // Changes are taken all the while: the other one has come back as a member.
    let tried = async {
        loop {
            tokio::select! {
                line = until_said("TRIED") => break line,
                change = ours.next() => {
                    let change = change.unwrap();
                    assert!(matches!(change, Rebalance::Assigned(_)), "it stays where it is: {change:?}");
                }
            }
        }
    };
    tried.await;
    assert_eq!(committed(&broker, &config.group, &topic).await, Some(far as i64), "the other one has set it back");
    ours.leave().await.unwrap();
}
