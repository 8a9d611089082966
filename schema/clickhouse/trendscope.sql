-- Tables of schema/pipelines/trendscope.toml in ClickHouse, as `tideline migrate` makes them. Generated.

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

CREATE TABLE IF NOT EXISTS `movie_trends_panes_b21fa03d98ec337b`
(
    `movie_title` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `popularity__last` Nullable(Float64),
    `popularity__last__time` Nullable(DateTime64(6, 'UTC')),
    `popularity__last__sequence` Nullable(Int64),
    `movie_mentions__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`movie_title`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view movie_trends b21fa03d98ec337b';

CREATE TABLE IF NOT EXISTS `movie_trends_stream_b21fa03d98ec337b` (
    `movie_title` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `popularity__last` Nullable(Float64),
    `popularity__last__time` Nullable(DateTime64(6, 'UTC')),
    `popularity__last__sequence` Nullable(Int64),
    `movie_mentions__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`movie_title`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(259200)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view movie_trends b21fa03d98ec337b';

CREATE OR REPLACE VIEW `movie_trends_panes` AS
SELECT `movie_title`, `pane`, `popularity__last`, `popularity__last__time`, `popularity__last__sequence`, `movie_mentions__count`, `sentiment__sum`, `sentiment__count`
FROM `movie_trends_panes_b21fa03d98ec337b`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['movie_trends_panes_b21fa03d98ec337b']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['movie_trends']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'movie_trends_stream_b21fa03d98ec337b') = 0)
UNION ALL
SELECT `movie_title`, `pane`, `popularity__last`, `popularity__last__time`, `popularity__last__sequence`, `movie_mentions__count`, `sentiment__sum`, `sentiment__count`
FROM `movie_trends_stream_b21fa03d98ec337b` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['movie_trends']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `movie_trends` AS
SELECT
    `movie_title`,
    window_start,
    window_end,
    `tmdb_popularity`,
    `mentions_count`,
    `reddit_sentiment`,
    coalesce(ifNotFinite(`tmdb_popularity`, NULL), toFloat64(0.0)) AS `popularity`,
    coalesce(ifNotFinite(`reddit_sentiment`, NULL), toFloat64(0.0)) AS `avg_sentiment`,
    ifNotFinite((ifNotFinite((ifNotFinite((toFloat64(0.4) * ifNotFinite(`popularity`, NULL)), NULL) + ifNotFinite((ifNotFinite((toFloat64(0.3) * toFloat64(`mentions_count`)), NULL) * toFloat64(toInt64(10))), NULL)), NULL) + ifNotFinite((ifNotFinite((toFloat64(0.3) * ifNotFinite((ifNotFinite(`avg_sentiment`, NULL) + toFloat64(toInt64(1))), NULL)), NULL) * toFloat64(toInt64(50))), NULL)), NULL) AS `trend_score`
FROM (
SELECT `movie_title`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 300000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `tmdb_popularity`,
    _state1 AS `mentions_count`,
    if(_state3 > 0, _state2 / toFloat64(_state3) + 0., NULL) AS `reddit_sentiment`
FROM (
    SELECT `movie_title`, _window,
        argMaxOrNullIf(assumeNotNull(`popularity__last`), (assumeNotNull(`popularity__last__time`), assumeNotNull(`popularity__last__sequence`), assumeNotNull(`popularity__last`)), `popularity__last` IS NOT NULL) AS _state0,
        sum(`movie_mentions__count`) AS _state1,
        sum(`sentiment__sum`) AS _state2,
        sum(`sentiment__count`) AS _state3
    FROM (
        SELECT *, arrayJoin(arrayFilter(s -> s + 300000000 > toUnixTimestamp64Micro(pane), arrayMap(i -> toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) - toInt64(i) * 60000000, range(6)))) AS _window
        FROM `movie_trends_panes`
    )
    GROUP BY `movie_title`, _window
)
);

CREATE TABLE IF NOT EXISTS `prediction_quality_panes_a0e413d1bc8da16c`
(
    `model_version` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `prediction_error__count` SimpleAggregateFunction(sum, Int64),
    `mean_absolute_error__sum` SimpleAggregateFunction(sum, Float64),
    `mean_absolute_error__count` SimpleAggregateFunction(sum, Int64),
    `prediction_error__sum` SimpleAggregateFunction(sum, Float64),
    `mean_squared_error__sum` SimpleAggregateFunction(sum, Float64),
    `mean_squared_error__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`model_version`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view prediction_quality a0e413d1bc8da16c';

CREATE OR REPLACE VIEW `prediction_quality_panes` AS
SELECT `model_version`, `pane`, `prediction_error__count`, `mean_absolute_error__sum`, `mean_absolute_error__count`, `prediction_error__sum`, `mean_squared_error__sum`, `mean_squared_error__count`
FROM `prediction_quality_panes_a0e413d1bc8da16c`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['prediction_quality_panes_a0e413d1bc8da16c']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
);

CREATE OR REPLACE VIEW `prediction_quality` AS
SELECT
    `model_version`,
    window_start,
    window_end,
    `settled`,
    `mean_absolute_error`,
    `mean_error`,
    `mean_squared_error`,
    ifNotFinite(sqrt(ifNotFinite(`mean_squared_error`, NULL)), NULL) AS `root_mean_squared_error`
FROM (
SELECT `model_version`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 3600000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `settled`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `mean_absolute_error`,
    if(_state0 > 0, _state3 / toFloat64(_state0) + 0., NULL) AS `mean_error`,
    if(_state5 > 0, _state4 / toFloat64(_state5) + 0., NULL) AS `mean_squared_error`
FROM (
    SELECT `model_version`, _window,
        sum(`prediction_error__count`) AS _state0,
        sum(`mean_absolute_error__sum`) AS _state1,
        sum(`mean_absolute_error__count`) AS _state2,
        sum(`prediction_error__sum`) AS _state3,
        sum(`mean_squared_error__sum`) AS _state4,
        sum(`mean_squared_error__count`) AS _state5
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 3600000000) AS _window
        FROM `prediction_quality_panes`
    )
    GROUP BY `model_version`, _window
)
);
