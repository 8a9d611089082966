-- Tables of schema/pipelines/stock-sentiment.toml in ClickHouse, as `tideline migrate` makes them. Generated.

CREATE TABLE IF NOT EXISTS tideline_versions (
    version UInt64,
    run String,
    published_at DateTime64(6, 'UTC'),
    loaded_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'),
    files Map(String, Array(String)),
    through Map(String, DateTime64(6, 'UTC'))
)
ENGINE = ReplacingMergeTree
PARTITION BY version
ORDER BY version
COMMENT 'versions of the batch layer that are loaded; the highest is the current one';

CREATE TABLE IF NOT EXISTS tideline_reports (
    report String,
    order_by Array(String),
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(noted_at)
ORDER BY report
COMMENT 'how tables of reports are sorted';

CREATE TABLE IF NOT EXISTS tideline_streams (
    stream String,
    topic_partition UInt32,
    next UInt64,
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(next)
ORDER BY (stream, topic_partition)
COMMENT 'how far the changes of views were taken in';

CREATE TABLE IF NOT EXISTS `symbol_sentiment_panes_b17069ad4d80d6f7`
(
    `symbol` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `mentions__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__buckets` SimpleAggregateFunction(sumMap, Map(Int32, Int64)),
    `open_price__first` Nullable(Float64),
    `open_price__first__time` Nullable(DateTime64(6, 'UTC')),
    `open_price__first__sequence` Nullable(Int64),
    `close_price__last` Nullable(Float64),
    `close_price__last__time` Nullable(DateTime64(6, 'UTC')),
    `close_price__last__sequence` Nullable(Int64),
    `volume__sum` SimpleAggregateFunction(sum, Int64),
    `volume__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`symbol`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view symbol_sentiment b17069ad4d80d6f7';

CREATE TABLE IF NOT EXISTS `symbol_sentiment_stream_b17069ad4d80d6f7` (
    `symbol` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `mentions__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__buckets` SimpleAggregateFunction(sumMap, Map(Int32, Int64)),
    `open_price__first` Nullable(Float64),
    `open_price__first__time` Nullable(DateTime64(6, 'UTC')),
    `open_price__first__sequence` Nullable(Int64),
    `close_price__last` Nullable(Float64),
    `close_price__last__time` Nullable(DateTime64(6, 'UTC')),
    `close_price__last__sequence` Nullable(Int64),
    `volume__sum` SimpleAggregateFunction(sum, Int64),
    `volume__count` SimpleAggregateFunction(sum, Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`symbol`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(259200)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view symbol_sentiment b17069ad4d80d6f7';

CREATE OR REPLACE VIEW `symbol_sentiment_panes` AS
SELECT `symbol`, `pane`, `mentions__count`, `sentiment__sum`, `sentiment__count`, `sentiment__buckets`, `open_price__first`, `open_price__first__time`, `open_price__first__sequence`, `close_price__last`, `close_price__last__time`, `close_price__last__sequence`, `volume__sum`, `volume__count`
FROM `symbol_sentiment_panes_b17069ad4d80d6f7`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['symbol_sentiment_panes_b17069ad4d80d6f7']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['symbol_sentiment']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'symbol_sentiment_stream_b17069ad4d80d6f7') = 0)
UNION ALL
SELECT `symbol`, `pane`, `mentions__count`, `sentiment__sum`, `sentiment__count`, `sentiment__buckets`, `open_price__first`, `open_price__first__time`, `open_price__first__sequence`, `close_price__last`, `close_price__last__time`, `close_price__last__sequence`, `volume__sum`, `volume__count`
FROM `symbol_sentiment_stream_b17069ad4d80d6f7` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['symbol_sentiment']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `symbol_sentiment` AS
SELECT
    `symbol`,
    window_start,
    window_end,
    `mentions`,
    `sentiment`,
    `p95`,
    `open`,
    `close`,
    ifNotFinite((ifNotFinite((ifNotFinite(`close`, NULL) / ifNotFinite(`open`, NULL)), NULL) - toFloat64(toInt64(1))), NULL) AS `price_change`,
    `volume`
FROM (
SELECT `symbol`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 300000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `mentions`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `sentiment`,
    if(arrayExists(x -> x > 0, mapValues(_state3)), arrayElement(arrayMap(c -> arrayElement(arrayMap(b -> arrayElement(arrayMap(e -> if(b < 0, -1., 1.) * multiIf(e = 0, 0., e >= 2047, inf, arrayElement(arrayMap(s -> arrayElement(arrayMap(l -> arrayElement(arrayMap(h -> reinterpretAsFloat64(bitShiftLeft(toUInt64(e), 52)) * (2. * l * h / (l + h)), [(3. - sqrt(4. - 3. * toFloat64((s + 1)) / 38.))]), 1), [(3. - sqrt(4. - 3. * toFloat64(s) / 38.))]), 1), [abs(b) % 38]), 1)), [intDiv(abs(b), 38)]), 1), [c[if(arrayFirstIndex(x -> x > toInt64(0.95 * toFloat64(arraySum(c.2) - 1)), arrayCumSum(c.2)) = 0, -1, arrayFirstIndex(x -> x > toInt64(0.95 * toFloat64(arraySum(c.2) - 1)), arrayCumSum(c.2)))].1]), 1), [arraySort(arrayFilter(x -> x.2 > 0, CAST(_state3 AS Array(Tuple(Int32, Int64)))))]), 1) + 0., NULL) AS `p95`,
    _state4 AS `open`,
    _state5 AS `close`,
    if(_state7 = 0, NULL, _state6) AS `volume`
FROM (
    SELECT `symbol`, _window,
        sum(`mentions__count`) AS _state0,
        sum(`sentiment__sum`) AS _state1,
        sum(`sentiment__count`) AS _state2,
        sumMap(`sentiment__buckets`) AS _state3,
        argMinOrNullIf(assumeNotNull(`open_price__first`), (assumeNotNull(`open_price__first__time`), assumeNotNull(`open_price__first__sequence`), assumeNotNull(`open_price__first`)), `open_price__first` IS NOT NULL) AS _state4,
        argMaxOrNullIf(assumeNotNull(`close_price__last`), (assumeNotNull(`close_price__last__time`), assumeNotNull(`close_price__last__sequence`), assumeNotNull(`close_price__last`)), `close_price__last` IS NOT NULL) AS _state5,
        sum(`volume__sum`) AS _state6,
        sum(`volume__count`) AS _state7
    FROM (
        SELECT *, arrayJoin(arrayFilter(s -> s + 300000000 > toUnixTimestamp64Micro(pane), arrayMap(i -> toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) - toInt64(i) * 60000000, range(6)))) AS _window
        FROM `symbol_sentiment_panes`
    )
    GROUP BY `symbol`, _window
)
);

INSERT INTO tideline_reports (report, order_by) VALUES
    ('batch_topic_statistics', ['topic', 'hour']),
    ('batch_trend_analysis', ['topic', 'ingest_timestamp']);
