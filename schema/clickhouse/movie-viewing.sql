-- Tables of schema/pipelines/movie-viewing.toml in ClickHouse, as `tideline migrate` makes them. Generated.

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

CREATE TABLE IF NOT EXISTS `stream_movie_views_panes_88d183db65919f5e`
(
    `movie_id` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `movie_views__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`movie_id`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view stream_movie_views 88d183db65919f5e';

CREATE TABLE IF NOT EXISTS `stream_movie_views_stream_88d183db65919f5e` (
    `movie_id` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `movie_views__count` SimpleAggregateFunction(sum, Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`movie_id`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view stream_movie_views 88d183db65919f5e';

CREATE OR REPLACE VIEW `stream_movie_views_panes` AS
SELECT `movie_id`, `pane`, `movie_views__count`
FROM `stream_movie_views_panes_88d183db65919f5e`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['stream_movie_views_panes_88d183db65919f5e']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_movie_views']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'stream_movie_views_stream_88d183db65919f5e') = 0)
UNION ALL
SELECT `movie_id`, `pane`, `movie_views__count`
FROM `stream_movie_views_stream_88d183db65919f5e` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_movie_views']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `stream_movie_views` AS
SELECT `movie_id`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 10000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `views`
FROM (
    SELECT `movie_id`, _window,
        sum(`movie_views__count`) AS _state0
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 10000000) AS _window
        FROM `stream_movie_views_panes`
    )
    GROUP BY `movie_id`, _window
);

CREATE TABLE IF NOT EXISTS `stream_user_activity_panes_dc4a3f9ed3420873`
(
    `user_id` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `viewing_events__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`user_id`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view stream_user_activity dc4a3f9ed3420873';

CREATE TABLE IF NOT EXISTS `stream_user_activity_stream_dc4a3f9ed3420873` (
    `user_id` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `viewing_events__count` SimpleAggregateFunction(sum, Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`user_id`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view stream_user_activity dc4a3f9ed3420873';

CREATE OR REPLACE VIEW `stream_user_activity_panes` AS
SELECT `user_id`, `pane`, `viewing_events__count`
FROM `stream_user_activity_panes_dc4a3f9ed3420873`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['stream_user_activity_panes_dc4a3f9ed3420873']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_user_activity']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'stream_user_activity_stream_dc4a3f9ed3420873') = 0)
UNION ALL
SELECT `user_id`, `pane`, `viewing_events__count`
FROM `stream_user_activity_stream_dc4a3f9ed3420873` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_user_activity']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `stream_user_activity` AS
SELECT `user_id`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 10000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `events`
FROM (
    SELECT `user_id`, _window,
        sum(`viewing_events__count`) AS _state0
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 10000000) AS _window
        FROM `stream_user_activity_panes`
    )
    GROUP BY `user_id`, _window
);

CREATE TABLE IF NOT EXISTS `stream_event_distribution_panes_8ebddec1c3f4e706`
(
    `event_type` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `viewing_events__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`event_type`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view stream_event_distribution 8ebddec1c3f4e706';

CREATE TABLE IF NOT EXISTS `stream_event_distribution_stream_8ebddec1c3f4e706` (
    `event_type` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `viewing_events__count` SimpleAggregateFunction(sum, Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`event_type`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view stream_event_distribution 8ebddec1c3f4e706';

CREATE OR REPLACE VIEW `stream_event_distribution_panes` AS
SELECT `event_type`, `pane`, `viewing_events__count`
FROM `stream_event_distribution_panes_8ebddec1c3f4e706`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['stream_event_distribution_panes_8ebddec1c3f4e706']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_event_distribution']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'stream_event_distribution_stream_8ebddec1c3f4e706') = 0)
UNION ALL
SELECT `event_type`, `pane`, `viewing_events__count`
FROM `stream_event_distribution_stream_8ebddec1c3f4e706` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_event_distribution']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `stream_event_distribution` AS
SELECT `event_type`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 10000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `events`
FROM (
    SELECT `event_type`, _window,
        sum(`viewing_events__count`) AS _state0
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 10000000) AS _window
        FROM `stream_event_distribution_panes`
    )
    GROUP BY `event_type`, _window
);

CREATE TABLE IF NOT EXISTS `stream_ratings_panes_ac5fb43327b3908f`
(
    `movie_id` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `ratings__count` SimpleAggregateFunction(sum, Int64),
    `rating__sum` SimpleAggregateFunction(sum, Float64),
    `rating__count` SimpleAggregateFunction(sum, Int64),
    `gold_file` LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY `gold_file`
ORDER BY (`movie_id`, `pane`)
SETTINGS allow_nullable_key = 1
COMMENT 'tideline view stream_ratings ac5fb43327b3908f';

CREATE TABLE IF NOT EXISTS `stream_ratings_stream_ac5fb43327b3908f` (
    `movie_id` Nullable(String),
    `pane` DateTime64(6, 'UTC'),
    `ratings__count` SimpleAggregateFunction(sum, Int64),
    `rating__sum` SimpleAggregateFunction(sum, Float64),
    `rating__count` SimpleAggregateFunction(sum, Int64),
    _shard LowCardinality(String),
    _position UInt64,
    _written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(_position)
PARTITION BY intDiv(toUnixTimestamp64Micro(pane), 86400000000)
ORDER BY (`movie_id`, `pane`, `_shard`)
TTL toDateTime(_written_at) + toIntervalSecond(86400)
SETTINGS allow_nullable_key = 1
COMMENT 'changes of view stream_ratings ac5fb43327b3908f';

CREATE OR REPLACE VIEW `stream_ratings_panes` AS
SELECT `movie_id`, `pane`, `ratings__count`, `rating__sum`, `rating__count`
FROM `stream_ratings_panes_ac5fb43327b3908f`
WHERE `gold_file` IN (
    SELECT arrayJoin(files['stream_ratings_panes_ac5fb43327b3908f']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions)
) AND (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_ratings']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))) OR (SELECT count() FROM tideline_streams WHERE stream = 'stream_ratings_stream_ac5fb43327b3908f') = 0)
UNION ALL
SELECT `movie_id`, `pane`, `ratings__count`, `rating__sum`, `rating__count`
FROM `stream_ratings_stream_ac5fb43327b3908f` FINAL
WHERE NOT (toUnixTimestamp64Micro(pane) + 10000000 <= toUnixTimestamp64Micro((SELECT max(through['stream_ratings']) FROM tideline_versions WHERE version = (SELECT max(version) FROM tideline_versions))));

CREATE OR REPLACE VIEW `stream_ratings` AS
SELECT `movie_id`, 
    CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS DateTime64(6, 'UTC')) AS window_start,
    CAST(fromUnixTimestamp64Micro(_window + 10000000, 'UTC') AS DateTime64(6, 'UTC')) AS window_end,
    _state0 AS `ratings`,
    if(_state2 > 0, _state1 / toFloat64(_state2) + 0., NULL) AS `avg_rating`
FROM (
    SELECT `movie_id`, _window,
        sum(`ratings__count`) AS _state0,
        sum(`rating__sum`) AS _state1,
        sum(`rating__count`) AS _state2
    FROM (
        SELECT *, toUnixTimestamp64Micro(pane) - positiveModulo(toUnixTimestamp64Micro(pane), 10000000) AS _window
        FROM `stream_ratings_panes`
    )
    GROUP BY `movie_id`, _window
);

INSERT INTO tideline_reports (report, order_by) VALUES
    ('batch_user_stats', ['user_id']),
    ('batch_popular_movies', ['rank', 'movie_id']),
    ('batch_ratings_stats', ['movie_id']),
    ('batch_hourly_stats', ['hour']);
