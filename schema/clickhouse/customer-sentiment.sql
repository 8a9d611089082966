-- Tables of schema/pipelines/customer-sentiment.toml in ClickHouse, as `tideline migrate` makes them. Generated.

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

CREATE TABLE IF NOT EXISTS `sentiment_overall_panes_0938b0615552dfca`
(
    `scope` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`scope`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view sentiment_overall 0938b0615552dfca';

CREATE TABLE IF NOT EXISTS `sentiment_overall_stream_0938b0615552dfca` (
    `scope` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`scope`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view sentiment_overall 0938b0615552dfca';

CREATE OR REPLACE VIEW `sentiment_overall_panes` AS
SELECT `scope`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_overall_panes_0938b0615552dfca`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['sentiment_overall_panes_0938b0615552dfca']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_overall']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'sentiment_overall_stream_0938b0615552dfca') = 0)
UNION ALL
SELECT `scope`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_overall_stream_0938b0615552dfca` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_overall']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `sentiment_overall` AS
SELECT `scope`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 60000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `messages`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `avg_sentiment`,
    _state3 AS `positive`,
    _state4 AS `neutral`,
    _state5 AS `negative`,
    if(_state7 > 0, _state6 / toFloat64(_state7) + 0., NULL) AS `avg_churn_risk`,
    _state8 AS `high_churn`,
    if(_state10 > 0, _state9 / toFloat64(_state10) + 0., NULL) AS `avg_toxicity`,
    _state11 AS `emotions`
FROM (
    SELECT `scope`, _window,
        sum(`messages__count`) AS _state0,
        sum(`sentiment__sum`) AS _state1,
        sum(`sentiment__count`) AS _state2,
        sum(`positive__count_if`) AS _state3,
        sum(`neutral__count_if`) AS _state4,
        sum(`negative__count_if`) AS _state5,
        sum(`churn_risk__sum`) AS _state6,
        sum(`churn_risk__count`) AS _state7,
        sum(`high_churn__count_if`) AS _state8,
        sum(`toxicity__sum`) AS _state9,
        sum(`toxicity__count`) AS _state10,
        sumMap(`emotion__counts`) AS _state11
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) AS _window
        FROM `sentiment_overall_panes`
    )
    GROUP BY `scope`, _window
);

CREATE TABLE IF NOT EXISTS `sentiment_by_city_panes_23d80d9983f7e555`
(
    `city` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`city`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view sentiment_by_city 23d80d9983f7e555';

CREATE TABLE IF NOT EXISTS `sentiment_by_city_stream_23d80d9983f7e555` (
    `city` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`city`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view sentiment_by_city 23d80d9983f7e555';

CREATE OR REPLACE VIEW `sentiment_by_city_panes` AS
SELECT `city`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_city_panes_23d80d9983f7e555`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['sentiment_by_city_panes_23d80d9983f7e555']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_city']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'sentiment_by_city_stream_23d80d9983f7e555') = 0)
UNION ALL
SELECT `city`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_city_stream_23d80d9983f7e555` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_city']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `sentiment_by_city` AS
SELECT `city`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 60000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `messages`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `avg_sentiment`,
    _state3 AS `positive`,
    _state4 AS `neutral`,
    _state5 AS `negative`,
    if(_state7 > 0, _state6 / toFloat64(_state7) + 0., NULL) AS `avg_churn_risk`,
    _state8 AS `high_churn`,
    if(_state10 > 0, _state9 / toFloat64(_state10) + 0., NULL) AS `avg_toxicity`,
    _state11 AS `emotions`
FROM (
    SELECT `city`, _window,
        sum(`messages__count`) AS _state0,
        sum(`sentiment__sum`) AS _state1,
        sum(`sentiment__count`) AS _state2,
        sum(`positive__count_if`) AS _state3,
        sum(`neutral__count_if`) AS _state4,
        sum(`negative__count_if`) AS _state5,
        sum(`churn_risk__sum`) AS _state6,
        sum(`churn_risk__count`) AS _state7,
        sum(`high_churn__count_if`) AS _state8,
        sum(`toxicity__sum`) AS _state9,
        sum(`toxicity__count`) AS _state10,
        sumMap(`emotion__counts`) AS _state11
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) AS _window
        FROM `sentiment_by_city_panes`
    )
    GROUP BY `city`, _window
);

CREATE TABLE IF NOT EXISTS `sentiment_by_product_panes_3f839acd755fecf1`
(
    `product` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`product`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view sentiment_by_product 3f839acd755fecf1';

CREATE TABLE IF NOT EXISTS `sentiment_by_product_stream_3f839acd755fecf1` (
    `product` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`product`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view sentiment_by_product 3f839acd755fecf1';

CREATE OR REPLACE VIEW `sentiment_by_product_panes` AS
SELECT `product`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_product_panes_3f839acd755fecf1`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['sentiment_by_product_panes_3f839acd755fecf1']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_product']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'sentiment_by_product_stream_3f839acd755fecf1') = 0)
UNION ALL
SELECT `product`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_product_stream_3f839acd755fecf1` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_product']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `sentiment_by_product` AS
SELECT `product`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 60000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `messages`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `avg_sentiment`,
    _state3 AS `positive`,
    _state4 AS `neutral`,
    _state5 AS `negative`,
    if(_state7 > 0, _state6 / toFloat64(_state7) + 0., NULL) AS `avg_churn_risk`,
    _state8 AS `high_churn`,
    if(_state10 > 0, _state9 / toFloat64(_state10) + 0., NULL) AS `avg_toxicity`,
    _state11 AS `emotions`
FROM (
    SELECT `product`, _window,
        sum(`messages__count`) AS _state0,
        sum(`sentiment__sum`) AS _state1,
        sum(`sentiment__count`) AS _state2,
        sum(`positive__count_if`) AS _state3,
        sum(`neutral__count_if`) AS _state4,
        sum(`negative__count_if`) AS _state5,
        sum(`churn_risk__sum`) AS _state6,
        sum(`churn_risk__count`) AS _state7,
        sum(`high_churn__count_if`) AS _state8,
        sum(`toxicity__sum`) AS _state9,
        sum(`toxicity__count`) AS _state10,
        sumMap(`emotion__counts`) AS _state11
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) AS _window
        FROM `sentiment_by_product_panes`
    )
    GROUP BY `product`, _window
);

CREATE TABLE IF NOT EXISTS `sentiment_by_channel_panes_dba4b4f64f908528`
(
    `channel` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`channel`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view sentiment_by_channel dba4b4f64f908528';

CREATE TABLE IF NOT EXISTS `sentiment_by_channel_stream_dba4b4f64f908528` (
    `channel` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`channel`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view sentiment_by_channel dba4b4f64f908528';

CREATE OR REPLACE VIEW `sentiment_by_channel_panes` AS
SELECT `channel`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_channel_panes_dba4b4f64f908528`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['sentiment_by_channel_panes_dba4b4f64f908528']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_channel']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'sentiment_by_channel_stream_dba4b4f64f908528') = 0)
UNION ALL
SELECT `channel`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_channel_stream_dba4b4f64f908528` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_channel']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `sentiment_by_channel` AS
SELECT `channel`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 60000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `messages`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `avg_sentiment`,
    _state3 AS `positive`,
    _state4 AS `neutral`,
    _state5 AS `negative`,
    if(_state7 > 0, _state6 / toFloat64(_state7) + 0., NULL) AS `avg_churn_risk`,
    _state8 AS `high_churn`,
    if(_state10 > 0, _state9 / toFloat64(_state10) + 0., NULL) AS `avg_toxicity`,
    _state11 AS `emotions`
FROM (
    SELECT `channel`, _window,
        sum(`messages__count`) AS _state0,
        sum(`sentiment__sum`) AS _state1,
        sum(`sentiment__count`) AS _state2,
        sum(`positive__count_if`) AS _state3,
        sum(`neutral__count_if`) AS _state4,
        sum(`negative__count_if`) AS _state5,
        sum(`churn_risk__sum`) AS _state6,
        sum(`churn_risk__count`) AS _state7,
        sum(`high_churn__count_if`) AS _state8,
        sum(`toxicity__sum`) AS _state9,
        sum(`toxicity__count`) AS _state10,
        sumMap(`emotion__counts`) AS _state11
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) AS _window
        FROM `sentiment_by_channel_panes`
    )
    GROUP BY `channel`, _window
);

CREATE TABLE IF NOT EXISTS `sentiment_by_platform_panes_98eaf0d8b8f11551`
(
    `platform` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`platform`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view sentiment_by_platform 98eaf0d8b8f11551';

CREATE TABLE IF NOT EXISTS `sentiment_by_platform_stream_98eaf0d8b8f11551` (
    `platform` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `messages__count` SimpleAggregateFunction(sum, Int64),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `positive__count_if` SimpleAggregateFunction(sum, Int64),
    `neutral__count_if` SimpleAggregateFunction(sum, Int64),
    `negative__count_if` SimpleAggregateFunction(sum, Int64),
    `churn_risk__sum` SimpleAggregateFunction(sum, Float64),
    `churn_risk__count` SimpleAggregateFunction(sum, Int64),
    `high_churn__count_if` SimpleAggregateFunction(sum, Int64),
    `toxicity__sum` SimpleAggregateFunction(sum, Float64),
    `toxicity__count` SimpleAggregateFunction(sum, Int64),
    `emotion__counts` SimpleAggregateFunction(sumMap, Map(String, Int64)),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`platform`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view sentiment_by_platform 98eaf0d8b8f11551';

CREATE OR REPLACE VIEW `sentiment_by_platform_panes` AS
SELECT `platform`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_platform_panes_98eaf0d8b8f11551`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['sentiment_by_platform_panes_98eaf0d8b8f11551']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_platform']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'sentiment_by_platform_stream_98eaf0d8b8f11551') = 0)
UNION ALL
SELECT `platform`, `pane`, `messages__count`, `sentiment__sum`, `sentiment__count`, `positive__count_if`, `neutral__count_if`, `negative__count_if`, `churn_risk__sum`, `churn_risk__count`, `high_churn__count_if`, `toxicity__sum`, `toxicity__count`, `emotion__counts`
FROM `sentiment_by_platform_stream_98eaf0d8b8f11551` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['sentiment_by_platform']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `sentiment_by_platform` AS
SELECT `platform`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 60000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `messages`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `avg_sentiment`,
    _state3 AS `positive`,
    _state4 AS `neutral`,
    _state5 AS `negative`,
    if(_state7 > 0, _state6 / toFloat64(_state7) + 0., NULL) AS `avg_churn_risk`,
    _state8 AS `high_churn`,
    if(_state10 > 0, _state9 / toFloat64(_state10) + 0., NULL) AS `avg_toxicity`,
    _state11 AS `emotions`
FROM (
    SELECT `platform`, _window,
        sum(`messages__count`) AS _state0,
        sum(`sentiment__sum`) AS _state1,
        sum(`sentiment__count`) AS _state2,
        sum(`positive__count_if`) AS _state3,
        sum(`neutral__count_if`) AS _state4,
        sum(`negative__count_if`) AS _state5,
        sum(`churn_risk__sum`) AS _state6,
        sum(`churn_risk__count`) AS _state7,
        sum(`high_churn__count_if`) AS _state8,
        sum(`toxicity__sum`) AS _state9,
        sum(`toxicity__count`) AS _state10,
        sumMap(`emotion__counts`) AS _state11
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) AS _window
        FROM `sentiment_by_platform_panes`
    )
    GROUP BY `platform`, _window
);

CREATE TABLE IF NOT EXISTS `customers_at_risk_panes_fb35d60ab33f0047`
(
    `author` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `risks__count` SimpleAggregateFunction(sum, Int64),
    `churn_risk__max` SimpleAggregateFunction(max, Nullable(Float64)),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `product__last` Nullable(String),
    `product__last__time` Nullable(DateTime64(6, 'UTC')),
    `product__last__sequence` Nullable(Int64),
    `text__last` Nullable(String),
    `text__last__time` Nullable(DateTime64(6, 'UTC')),
    `text__last__sequence` Nullable(Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`author`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view customers_at_risk fb35d60ab33f0047';

CREATE TABLE IF NOT EXISTS `customers_at_risk_stream_fb35d60ab33f0047` (
    `author` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `risks__count` SimpleAggregateFunction(sum, Int64),
    `churn_risk__max` SimpleAggregateFunction(max, Nullable(Float64)),
    `sentiment__sum` SimpleAggregateFunction(sum, Float64),
    `sentiment__count` SimpleAggregateFunction(sum, Int64),
    `product__last` Nullable(String),
    `product__last__time` Nullable(DateTime64(6, 'UTC')),
    `product__last__sequence` Nullable(Int64),
    `text__last` Nullable(String),
    `text__last__time` Nullable(DateTime64(6, 'UTC')),
    `text__last__sequence` Nullable(Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`author`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view customers_at_risk fb35d60ab33f0047';

CREATE OR REPLACE VIEW `customers_at_risk_panes` AS
SELECT `author`, `pane`, `risks__count`, `churn_risk__max`, `sentiment__sum`, `sentiment__count`, `product__last`, `product__last__time`, `product__last__sequence`, `text__last`, `text__last__time`, `text__last__sequence`
FROM `customers_at_risk_panes_fb35d60ab33f0047`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['customers_at_risk_panes_fb35d60ab33f0047']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['customers_at_risk']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'customers_at_risk_stream_fb35d60ab33f0047') = 0)
UNION ALL
SELECT `author`, `pane`, `risks__count`, `churn_risk__max`, `sentiment__sum`, `sentiment__count`, `product__last`, `product__last__time`, `product__last__sequence`, `text__last`, `text__last__time`, `text__last__sequence`
FROM `customers_at_risk_stream_fb35d60ab33f0047` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 60000000 <= toUnixTimestamp64Micro((SELECT max(through['customers_at_risk']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `customers_at_risk` AS
SELECT `author`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 60000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `messages`,
    _state1 + 0. AS `churn_risk`,
    if(_state3 > 0, _state2 / toFloat64(_state3) + 0., NULL) AS `avg_sentiment`,
    _state4 AS `last_product`,
    _state5 AS `last_text`
FROM (
    SELECT `author`, _window,
        sum(`risks__count`) AS _state0,
        max(`churn_risk__max`) AS _state1,
        sum(`sentiment__sum`) AS _state2,
        sum(`sentiment__count`) AS _state3,
        argMaxOrNullIf(assumeNotNull(`product__last`), (assumeNotNull(`product__last__time`), assumeNotNull(`product__last__sequence`), assumeNotNull(`product__last`)), `product__last` IS NOT NULL) AS _state4,
        argMaxOrNullIf(assumeNotNull(`text__last`), (assumeNotNull(`text__last__time`), assumeNotNull(`text__last__sequence`), assumeNotNull(`text__last`)), `text__last` IS NOT NULL) AS _state5
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 60000000) AS _window
        FROM `customers_at_risk_panes`
    )
    GROUP BY `author`, _window
);

INSERT INTO tideline_reports (report, order_by) VALUES
    ('batch_daily_products', ['day', 'product']),
    ('batch_daily_channels', ['day', 'channel', 'platform']),
    ('batch_daily_emotions', ['day']),
    ('batch_customers_at_risk', ['rank', 'author']);
