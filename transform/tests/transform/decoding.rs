//! Records to rows.

use bytes::Bytes;
use proptest::prelude::*;
use tideline_common::key;
use tideline_common::plan::{LookupPlan, Plan};
use tideline_common::value::Type;
use tideline_transform::{Reason, SourceTransform};

use crate::plans::{field, plan, record};

fn transform(plan: &Plan) -> SourceTransform {
    SourceTransform::new(plan, "s").unwrap()
}

#[test]
fn reasons_name_what_is_wrong() {
    let mut plan = plan();
    plan.sources[0].required = vec!["n".to_owned()];
    let cases: &[(&[u8], Option<&str>)] = &[
        (br#"{"at": 1, "n": 1}"#, None),
        (br#"{"at": 1, "n": 3.0, "x": 2, "text": "t", "ok": true, "tags": [], "other": {"a": [1]}}"#, None),
        (br#"{"at": "x", "at": 1, "n": "no", "n": 2}"#, None),
        (br#"{"at": 2.0, "n": -1, "seen": "2014-01-01T00:00:00Z"}"#, None),
        (b"", Some("json")),
        (b"{", Some("json")),
        (br#"{"at": 1, "n": 1} x"#, Some("json")),
        (b"{\"at\": 1, \"n\": 1, \"text\": \"\xff\"}", Some("utf8")),
        (b"[1]", Some("not_object")),
        (br#"{"at": 1, "n": "3"}"#, Some("type")),
        (br#"{"at": 1, "n": 3.5}"#, Some("type")),
        (br#"{"at": 1, "n": 1, "text": 3}"#, Some("type")),
        (br#"{"at": 1, "n": 1, "tags": ["a", 1]}"#, Some("type")),
        (br#"{"at": 1, "n": 1, "seen": "soon"}"#, Some("type")),
        (br#"{"at": 1, "n": 99999999999999999999}"#, Some("range")),
        (br#"{"at": 1, "n": 1, "x": 1e999}"#, Some("range")),
        (br#"{"at": 1}"#, Some("missing")),
        (br#"{"at": 1, "n": null}"#, Some("missing")),
        (br#"{"n": 1}"#, Some("missing_time")),
        (br#"{"at": null, "n": 1}"#, Some("missing_time")),
        (br#"{"at": "soon", "n": 1}"#, Some("bad_time")),
        (br#"{"at": 1060, "n": 1}"#, None),
        (br#"{"at": 1061, "n": 1}"#, Some("ahead_of_time")),
        (br#"{"at": 1, "n": 1, "text": "01234567890123456789012345678901234567890123456789"}"#, Some("check")),
    ];
    let records: Vec<_> =
        cases.iter().enumerate().map(|(at, (payload, _))| record(at as u64 + 7, payload.to_vec())).collect();
    let decoded = transform(&plan).decode(0, &records).unwrap();
    let mut rejected = decoded.rejected.iter();
    for (index, (payload, kind)) in cases.iter().enumerate() {
        if let Some(kind) = kind {
            let rejected = rejected.next().unwrap();
            let text = String::from_utf8_lossy(payload);
            assert_eq!((rejected.index, rejected.offset), (index, index as u64 + 7), "{text}");
            assert_eq!(rejected.reason.kind(), *kind, "{text}: {}", rejected.reason);
        }
    }
    assert_eq!(decoded.rows.len() + decoded.rejected.len(), cases.len());
    let frame = decoded.rows.frame().unwrap();
    assert_eq!(frame.column("n").unwrap().i64().unwrap().iter().collect::<Vec<_>>(), [1, 3, 2, -1, 1].map(Some));
    assert_eq!(decoded.rows.event_times()[3], 2_000_000);
    assert!(matches!(&decoded.rejected.last().unwrap().reason, Reason::Check { name } if &**name == "short"));
}

/// Text of the view's key is `text`, behind a check that is away here; `tag` is that of a lookup over `tags`.
#[test]
fn a_record_with_a_key_that_no_store_takes_is_rejected() {
    let mut plan = plan();
    plan.sources[0].checks.clear();
    plan.lookups = vec![LookupPlan {
        name: "l".to_owned(),
        table: "tags".to_owned(),
        source: "s".to_owned(),
        key: vec![field("tag", Type::String)],
        columns: vec![field("score", Type::Float)],
        limit: 3,
        retain_speed: None,
        version: "v".to_owned(),
    }];
    // A text has three bytes around it, a boolean that is absent has one.
    let longest = key::MAX_BYTES - 4;
    let text = |bytes: usize| format!(r#"{{"at": 1, "text": "{}"}}"#, "x".repeat(bytes));
    let tag = |bytes: usize| format!(r#"{{"at": 1, "tags": ["a", "{}"]}}"#, "y".repeat(bytes));
    let payloads = [
        text(10),
        text(longest),
        text(longest + 1),
        text(100_000),
        "{".to_owned(),
        // Each zero is two bytes of the key, and six of the payload.
        format!(r#"{{"at": 1, "text": "{}"}}"#, "\\u0000".repeat(longest / 2)),
        format!(r#"{{"at": 1, "text": "{}"}}"#, "\\u0000".repeat(longest / 2 + 1)),
        tag(key::MAX_BYTES - 3),
        tag(key::MAX_BYTES - 2),
    ];
    let records: Vec<_> =
        payloads.iter().enumerate().map(|(at, payload)| record(at as u64 + 7, payload.clone())).collect();
    let reasons = |plan: &Plan| -> Vec<(usize, u64, String)> {
        let decoded = transform(plan).decode(1, &records).unwrap();
        let lost: Vec<u64> = decoded.rejected.iter().map(|rejected| rejected.offset).collect();
        let kept: Vec<u64> = (7..7 + records.len() as u64).filter(|offset| !lost.contains(offset)).collect();
        assert_eq!(decoded.rows.offsets(), kept);
        decoded.rejected.into_iter().map(|r| (r.index, r.offset, r.reason.to_string())).collect()
    };
    let long = |at: usize, of: &str, bytes: usize| {
        (at, at as u64 + 7, format!("the key of {of} has {bytes} bytes, 32768 at most"))
    };
    let json = (4, 11, "not JSON: expected a member's name or `}` at byte 1".to_owned());
    let expected = [
        long(2, "view `v`", 32_769),
        long(3, "view `v`", 100_004),
        json.clone(),
        long(6, "view `v`", 32_770),
        long(8, "lookup `l`", 32_769),
    ];
    let found = reasons(&plan);
    assert_eq!(
        found.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(),
        expected.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>()
    );
    for (found, expected) in found.iter().zip(&expected).filter(|(_, expected)| **expected != json) {
        assert_eq!(found, expected);
    }
    // What a condition keeps out of the table is in no key.
    plan.tables[1].filter = Some("tag <> 'no' AND length(tag) < 9".to_owned());
    assert_eq!(reasons(&plan).last().unwrap().0, 6);
    // Of an expression the key is what it makes.
    plan.tables[0].columns[0].sql = "'<' || text || text".to_owned();
    let halves = reasons(&plan);
    assert_eq!(halves.iter().map(|r| r.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(halves[0].2, format!("the key of view `v` has {} bytes, 32768 at most", 2 * longest + 5));
    plan.tables[0].columns[0].sql = format!("CASE WHEN text IS NULL THEN text ELSE rpad('x', {longest}, 'x') END");
    assert_eq!(reasons(&plan).iter().map(|r| r.0).collect::<Vec<_>>(), [4]);
    plan.tables[0].columns[0].sql =
        format!("CASE WHEN text IS NULL THEN text ELSE rpad('x', {}, 'x') END", longest + 1);
    assert_eq!(reasons(&plan).iter().map(|r| r.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn rows_are_made_per_element() {
    let plan = plan();
    let payloads = [
        r#"{"at": 1, "text": "I love it", "tags": ["a", "no", "b"]}"#,
        r#"{"at": 2, "text": "awful", "tags": []}"#,
        r#"{"at": 3, "text": "awful"}"#,
        r#"{"at": 4, "text": "I hate it", "tags": ["c"]}"#,
    ];
    let records: Vec<_> = payloads.iter().enumerate().map(|(at, payload)| record(at as u64, *payload)).collect();
    let transform = transform(&plan);
    let mut rows = transform.decode(2, &records).unwrap().rows;
    rows.set_highest(vec![i64::MIN, 1, 2, 3]).unwrap();
    let tags = transform.table_rows("tags", &rows).unwrap();
    let names: Vec<_> = tags.get_column_names().into_iter().map(ToString::to_string).collect();
    assert_eq!(names, ["score", "mood", "tag", "event_time", "_sequence", "_ordinal", "_highest"]);
    let texts = |name: &str| -> Vec<String> {
        tags.column(name).unwrap().str().unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
    };
    assert_eq!(texts("tag"), ["a", "b", "c"]);
    assert_eq!(texts("mood"), ["positive", "positive", "negative"]);
    let integers = |name: &str| tags.column(name).unwrap().i64().unwrap().iter().flatten().collect::<Vec<_>>();
    assert_eq!(integers("_ordinal"), [0, 2, 0]);
    assert_eq!(integers("_highest"), [i64::MIN, i64::MIN, 3]);
    let sequence = |offset| tideline_common::position::sequence(2, offset);
    assert_eq!(integers("_sequence"), [sequence(0), sequence(0), sequence(3)]);
    assert!(transform.table_rows("nothing", &rows).is_err());
}

#[test]
fn dedupe_keys_and_partition_keys() {
    let mut plan = plan();
    plan.sources[0].dedupe = Some("text || CAST(n AS VARCHAR)".to_owned());
    let transform = transform(&plan);
    let payloads = [
        r#"{"at": 1, "text": "a", "n": 1}"#,
        r#"{"at": 2, "text": "a", "n": 1}"#,
        r#"{"at": 3, "text": "a"}"#,
        r#"{"at": 4, "text": "b", "n": 1}"#,
    ];
    let records: Vec<_> = payloads.iter().enumerate().map(|(at, payload)| record(at as u64, *payload)).collect();
    let mut rows = transform.decode(0, &records).unwrap().rows;
    let keys = rows.dedupe_keys().unwrap();
    assert!(keys[0].is_some() && keys[0] == keys[1] && keys[2].is_none() && keys[3] != keys[0]);
    rows.retain(&[true, false, true, true]).unwrap();
    assert_eq!((rows.offsets(), rows.dedupe_keys().unwrap().len()), (&[0, 2, 3][..], 3));
    assert!(rows.retain(&[true]).is_err());
    let keys = transform.keys(&[
        Bytes::from(r#"{"text": "k"}"#),
        Bytes::from("{"),
        Bytes::from(r#"{"text": 3}"#),
        Bytes::from(r#"{"text": "", "at": "soon"}"#),
    ]);
    assert_eq!(keys, [Some(Bytes::from("k")), None, None, Some(Bytes::new())]);
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let object = (0i64..50, prop::option::of(-3i64..3), "[a-c]{0,2}").prop_map(|(at, n, text)| {
        serde_json::json!({ "at": at, "n": n, "text": text, "x": n }).to_string().into_bytes()
    });
    prop_oneof![
        3 => object.clone(),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        // An object that is cut off or hit by a stray byte.
        1 => (object, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(|(mut bytes, at, byte, cut)| {
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn every_record_is_a_row_or_rejected(payloads in prop::collection::vec(payload(), 0..30)) {
        let plan = plan();
        let transform = transform(&plan);
        let records: Vec<_> =
            payloads.into_iter().enumerate().map(|(at, payload)| record(at as u64 * 2, payload)).collect();
        let decoded = transform.decode(0, &records).unwrap();
        let mut offsets: Vec<u64> = decoded.rejected.iter().map(|rejected| rejected.offset).collect();
        prop_assert!(decoded.rejected.iter().all(|r| records[r.index].offset == r.offset));
        offsets.extend(decoded.rows.offsets());
        offsets.sort_unstable();
        prop_assert_eq!(offsets, records.iter().map(|record| record.offset).collect::<Vec<_>>());
        // What becomes of a record depends on that record alone.
        for record in &records {
            let alone = transform.decode(0, std::slice::from_ref(record)).unwrap();
            let together = decoded.rejected.iter().find(|rejected| rejected.offset == record.offset);
            prop_assert_eq!(alone.rejected.first().map(|r| &r.reason), together.map(|r| &r.reason));
        }
    }
}
