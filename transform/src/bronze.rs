//! Bronze: records as they came, in Parquet.
//!
//! ```text
//! offset     INT64            place in the partition, ascending
//! appended   INT64 timestamp  when the log took the record, microseconds UTC
//! ingested   INT64 timestamp  when the record was written here
//! key        BYTE_ARRAY?      partitioning key
//! headers    BYTE_ARRAY?      per header: varint length and UTF-8 name, varint length and bytes; null: none
//! payload    BYTE_ARRAY       the record, byte for byte
//! ```
//! The file's key-value metadata holds `tideline.version`, `tideline.source`, `tideline.partition` and
//! `tideline.next`, the offset that the chain goes on from (which may lie past the last record: logs have gaps).
//!
//! [`chain`]: how files of a partition follow each other · [`stretch`]: files compared and joined

pub mod chain;
pub mod stretch;

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{Header, Record};
use tideline_common::state::{Reader, write_bytes};
use tideline_common::time::Timestamp;

const SCHEMA: &str = "message bronze {
    REQUIRED INT64 offset (INTEGER(64,true));
    REQUIRED INT64 appended (TIMESTAMP(MICROS,true));
    REQUIRED INT64 ingested (TIMESTAMP(MICROS,true));
    OPTIONAL BYTE_ARRAY key;
    OPTIONAL BYTE_ARRAY headers;
    REQUIRED BYTE_ARRAY payload;
}";
const VERSION: &str = "1";
/// Records per row group: bounds what a reader holds at once.
const ROW_GROUP_RECORDS: usize = 100_000;

/// A Bronze file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BronzeFile {
    /// Offset of the first record, or `next` when there is none.
    pub first: Offset,
    /// Offset that the next file of the chain begins at.
    pub next: Offset,
    /// The records.
    pub records: Vec<Record>,
}

/// Why a Bronze file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BronzeError {
    /// Parquet refuses.
    #[error("Bronze: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The file is Parquet, but not a Bronze file; or the records are not a stretch of one partition.
    #[error("not a Bronze file: {0}")]
    Malformed(String),
}

/// Where a Bronze file lies: `bronze/<source>/<partition>/<first, 20 digits>.parquet`.
pub fn path(source: &str, partition: Partition, first: Offset) -> String {
    format!("bronze/{source}/{partition}/{first:020}.parquet")
}

/// Records of one partition as a Bronze file that the chain goes on from at `next`. The same arguments give the
/// same bytes.
///
/// # Errors
/// When the offsets do not ascend to below `next`, or Parquet refuses.
pub fn encode(
    records: &[Record],
    source: &str,
    partition: Partition,
    next: Offset,
    ingested_at: Timestamp,
) -> Result<Bytes, BronzeError> {
    encode_rows(records, source, partition, next, |_| ingested_at)
}

/// As [`encode`], with a time for each record, by its index.
fn encode_rows(
    records: &[Record],
    source: &str,
    partition: Partition,
    next: Offset,
    ingested_at: impl Fn(usize) -> Timestamp,
) -> Result<Bytes, BronzeError> {
    check_offsets(records, next)?;
    let metadata = [
        ("tideline.version", VERSION.to_owned()),
        ("tideline.source", source.to_owned()),
        ("tideline.partition", partition.to_string()),
        ("tideline.next", next.to_string()),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    let bytes = |column: &str| ColumnPath::from(column);
    // Keys, headers and payloads are opaque: their least and greatest values help no reader.
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(metadata))
        .set_created_by("tideline".to_owned())
        .set_column_dictionary_enabled(bytes("offset"), false)
        .set_column_dictionary_enabled(bytes("payload"), false)
        .set_column_statistics_enabled(bytes("key"), EnabledStatistics::None)
        .set_column_statistics_enabled(bytes("headers"), EnabledStatistics::None)
        .set_column_statistics_enabled(bytes("payload"), EnabledStatistics::None)
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    for (index, records) in records.chunks(ROW_GROUP_RECORDS).enumerate() {
        let rows = index * ROW_GROUP_RECORDS..index * ROW_GROUP_RECORDS + records.len();
        let mut group = writer.next_row_group()?;
        write::<Int64Type>(&mut group, &records.iter().map(|r| r.offset as i64).collect::<Vec<_>>(), None)?;
        write::<Int64Type>(&mut group, &records.iter().map(|r| r.appended.0).collect::<Vec<_>>(), None)?;
        write::<Int64Type>(&mut group, &rows.map(|row| ingested_at(row).0).collect::<Vec<_>>(), None)?;
        let keys: Vec<Option<ByteArray>> = records.iter().map(|r| r.key.clone().map(ByteArray::from)).collect();
        write_optional(&mut group, keys)?;
        write_optional(&mut group, records.iter().map(|r| encode_headers(&r.headers)).collect())?;
        let payloads: Vec<ByteArray> = records.iter().map(|r| ByteArray::from(r.payload.clone())).collect();
        write::<ByteArrayType>(&mut group, &payloads, None)?;
        group.close()?;
    }
    Ok(Bytes::from(writer.into_inner()?))
}

fn check_offsets(records: &[Record], next: Offset) -> Result<(), BronzeError> {
    let ascending = records.windows(2).all(|pair| pair[0].offset < pair[1].offset);
    if ascending && records.last().is_none_or(|last| last.offset < next) && i64::try_from(next).is_ok() {
        return Ok(());
    }
    Err(BronzeError::Malformed(format!("its offsets do not ascend to below {next}")))
}

type GroupWriter<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn write<T: DataType>(group: &mut GroupWriter<'_>, values: &[T::T], levels: Option<&[i16]>) -> Result<(), BronzeError> {
    let mut column = group.next_column()?.ok_or_else(|| BronzeError::Malformed("too few columns".to_owned()))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()?;
    Ok(())
}

fn write_optional(group: &mut GroupWriter<'_>, values: Vec<Option<ByteArray>>) -> Result<(), BronzeError> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<ByteArray> = values.into_iter().flatten().collect();
    write::<ByteArrayType>(group, &values, Some(&levels))
}

fn encode_headers(headers: &[Header]) -> Option<ByteArray> {
    if headers.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    for (name, value) in headers {
        write_bytes(name.as_bytes(), &mut bytes);
        write_bytes(value, &mut bytes);
    }
    Some(ByteArray::from(bytes))
}

fn decode_headers(bytes: &[u8]) -> Result<Vec<Header>, BronzeError> {
    let damaged = |error: tideline_common::state::CodecError| BronzeError::Malformed(format!("headers: {error}"));
    let mut reader = Reader::new(bytes);
    let mut headers = Vec::new();
    while !reader.is_done() {
        let name = reader.text().map_err(damaged)?.to_owned();
        headers.push((name, Bytes::copy_from_slice(reader.bytes().map_err(damaged)?)));
    }
    Ok(headers)
}

/// The records of a Bronze file.
///
/// # Errors
/// When the bytes are not a Bronze file.
pub fn decode(bytes: Bytes) -> Result<BronzeFile, BronzeError> {
    decode_rows(bytes, None)
}

/// As [`decode`], with the times at which records were written here, when they are wanted.
fn decode_rows(bytes: Bytes, mut ingested: Option<&mut Vec<Timestamp>>) -> Result<BronzeFile, BronzeError> {
    let reader = SerializedFileReader::new(bytes)?;
    let next = checked(&reader)?;
    let mut records = Vec::new();
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index)?;
        read_group(&*group, &mut records)?;
        if let Some(ingested) = &mut ingested {
            let count = usize::try_from(group.metadata().num_rows()).unwrap_or_default();
            ingested.extend(read::<Int64Type>(&*group, 2, count)?.into_iter().map(Timestamp));
        }
    }
    check_offsets(&records, next)?;
    let first = records.first().map_or(next, |record: &Record| record.offset);
    Ok(BronzeFile { first, next, records })
}

/// The offset that the chain goes on from after this Bronze file. Reads no record.
///
/// # Errors
/// When the bytes are not a Bronze file.
pub fn next(bytes: Bytes) -> Result<Offset, BronzeError> {
    checked(&SerializedFileReader::new(bytes)?)
}

/// Checks that it is a Bronze file; where it ends.
fn checked(reader: &SerializedFileReader<Bytes>) -> Result<Offset, BronzeError> {
    let file = reader.metadata().file_metadata();
    if *file.schema() != parse_message_type(SCHEMA)? {
        return Err(BronzeError::Malformed("its columns are not those of Bronze".to_owned()));
    }
    let pairs = file.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
    let text = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
    if text("tideline.version") != Some(VERSION) {
        return Err(BronzeError::Malformed("its version is unknown".to_owned()));
    }
    let next = text("tideline.next").and_then(|next| next.parse().ok());
    next.ok_or_else(|| BronzeError::Malformed("it does not say where it ends".to_owned()))
}

fn read_group(group: &dyn RowGroupReader, records: &mut Vec<Record>) -> Result<(), BronzeError> {
    let count = usize::try_from(group.metadata().num_rows());
    let count = count.map_err(|_| BronzeError::Malformed("a negative number of rows".to_owned()))?;
    let offsets = read::<Int64Type>(group, 0, count)?;
    let appended = read::<Int64Type>(group, 1, count)?;
    let keys = read_optional(group, 3, count)?;
    let headers = read_optional(group, 4, count)?;
    let payloads = read::<ByteArrayType>(group, 5, count)?;
    let rows = offsets.into_iter().zip(appended).zip(keys).zip(headers).zip(payloads);
    for ((((offset, appended), key), headers), payload) in rows {
        records.push(Record {
            offset: u64::try_from(offset).map_err(|_| BronzeError::Malformed("a negative offset".to_owned()))?,
            appended: Timestamp(appended),
            key: key.map(|key| Bytes::copy_from_slice(key.data())),
            headers: headers.map_or(Ok(Vec::new()), |headers| decode_headers(headers.data()))?,
            payload: Bytes::copy_from_slice(payload.data()),
        });
    }
    Ok(())
}

fn read_levels<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    count: usize,
) -> Result<(Vec<T::T>, Vec<i16>), BronzeError> {
    // The schema has been compared, so the column is of this type.
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < count {
        let (records, _, _) = reader.read_records(count - read, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(BronzeError::Malformed(format!("column {column} ends after {read} of {count} rows")));
        }
        read += records;
    }
    Ok((values, levels))
}

fn read<T: DataType>(group: &dyn RowGroupReader, column: usize, count: usize) -> Result<Vec<T::T>, BronzeError> {
    let (values, _) = read_levels::<T>(group, column, count)?;
    if values.len() != count {
        return Err(BronzeError::Malformed(format!("column {column} has {} of {count} values", values.len())));
    }
    Ok(values)
}

fn read_optional(
    group: &dyn RowGroupReader,
    column: usize,
    count: usize,
) -> Result<Vec<Option<ByteArray>>, BronzeError> {
    let (values, levels) = read_levels::<ByteArrayType>(group, column, count)?;
    let mut values = values.into_iter();
    let rows: Vec<Option<ByteArray>> =
        levels.into_iter().map(|level| if level == 0 { None } else { values.next() }).collect();
    if rows.len() != count {
        return Err(BronzeError::Malformed(format!("column {column} has {} of {count} rows", rows.len())));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        let headers = prop::collection::vec(("[a-z\u{e9}]{0,3}", bytes()), 0..3);
        (1u64..1_000, any::<i64>(), prop::option::of(bytes()), headers, bytes()).prop_map(
            |(offset, appended, key, headers, payload)| Record {
                offset,
                appended: Timestamp(appended),
                key,
                headers,
                payload,
            },
        )
    }

    proptest! {
        #[test]
        fn reads_back(records in prop::collection::vec(record(), 0..40), gap in 1u64..5) {
            // What was drawn as the offset is the distance to the record before.
            let mut records = records;
            let mut at = 0;
            for record in &mut records {
                at += record.offset;
                record.offset = at;
            }
            let bytes = encode(&records, "tweets", 3, at + gap, Timestamp(7)).unwrap();
            let encoded = bytes.clone();
            let file = decode(bytes).unwrap();
            prop_assert_eq!(file.first, records.first().map_or(at + gap, |r| r.offset));
            prop_assert_eq!(file.next, at + gap);
            prop_assert_eq!(next(encoded).unwrap(), at + gap);
            prop_assert_eq!(file.records, records);
        }

        #[test]
        fn damage_is_an_error(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(Bytes::from(noise)).is_err());
        }
    }

    #[test]
    fn offsets_must_ascend_to_below_next() {
        let record =
            |offset| Record { offset, appended: Timestamp(0), key: None, headers: Vec::new(), payload: Bytes::new() };
        assert!(encode(&[record(1), record(1)], "s", 0, 2, Timestamp(0)).is_err());
        assert!(encode(&[record(2)], "s", 0, 2, Timestamp(0)).is_err());
        assert!(encode(&[record(1)], "s", 0, 2, Timestamp(0)).is_ok());
    }

    #[test]
    fn the_path_sorts_by_offset() {
        assert_eq!(path("tweets", 3, 42), "bronze/tweets/3/00000000000000000042.parquet");
    }
}
