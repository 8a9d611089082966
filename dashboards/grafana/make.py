#!/usr/bin/env python3
"""Writes the dashboards of `dashboards/`: JSON that Grafana provisions. They are made here and not by hand, so that
every panel has a unit, a description and the same variables.

    make.py            writes them
    make.py --check    fails when they are not what it would write

In an expression `{i}` and `{i, LABEL="…"}` stand for the job and the processes that are chosen.
"""

import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = '{job="tideline", instance=~"$instance"'
WIDTH = 24
GREEN, YELLOW, RED = "green", "yellow", "red"


def thresholds(*steps):
    """Green, and from each value on another colour."""
    found = [{"color": GREEN, "value": None}]
    return {"mode": "absolute", "steps": found + [{"color": color, "value": value} for value, color in steps]}


ZERO = thresholds((1, RED))


class Panel:
    """Queries with what is needed to read their answer. `queries` are pairs of expression and legend."""

    def __init__(self, title, description, unit, *queries, kind="timeseries", width=None, steps=None, instant=False, decimals=None, minimum=0):
        self.minimum = minimum
        self.title, self.description, self.unit, self.queries = title, description, unit, queries
        self.kind, self.steps, self.instant, self.decimals = kind, steps, instant, decimals
        self.width = width or {"stat": 4, "table": 12}.get(kind, 8)
        self.height = 4 if kind == "stat" else 8

    def json(self, number, x, y):
        targets = []
        for letter, (expr, legend) in zip("ABCDEFGH", self.queries, strict=False):
            target = {"refId": letter, "datasource": SOURCE, "expr": re.sub(r"\{i\b", CHOSEN, expr), "legendFormat": legend}
            if self.instant or self.kind == "table":
                target |= {"instant": True, "range": False}
            if self.kind == "table":
                target["format"] = "table"
            targets.append(target)
        defaults = {"unit": self.unit}
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        if self.steps:
            defaults["thresholds"] = self.steps
        if self.kind == "timeseries":
            if self.minimum is not None:
                defaults["min"] = self.minimum
            defaults |= {"custom": {"fillOpacity": 8, "showPoints": "never", "lineWidth": 1}}
            if self.steps:
                defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
            options = {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        elif self.kind == "stat":
            options = {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "background" if self.steps else "value",
                "graphMode": "none" if self.instant else "area",
                "textMode": "auto",
            }
        else:
            options = {"showHeader": True, "cellHeight": "sm"}
        panel = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
        }
        if self.kind == "table":
            hide = {"Time": True, "Value": True, "__name__": True, "job": True}
            panel["transformations"] = [{"id": "organize", "options": {"excludeByName": hide}}]
        return panel


def stat(title, description, unit, expr, legend="", steps=None, **more):
    return Panel(title, description, unit, (expr, legend), kind="stat", steps=steps, **more)


def dashboard(uid, title, description, rows, start="now-1h"):
    panels, number, y = [], 0, 0
    for name, content in rows:
        number += 1
        panels.append(
            {"id": number, "type": "row", "title": name, "collapsed": False, "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}, "panels": []}
        )
        y += 1
        x, height = 0, 0
        for panel in content:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            number += 1
            panels.append(panel.json(number, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["tideline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": start, "to": "now"},
        "graphTooltip": 1,
        "links": [
            {"type": "dashboards", "title": "Tideline", "tags": ["tideline"], "asDropdown": False, "keepTime": True, "includeVars": True}
        ],
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus", "hide": 0},
                {
                    "name": "instance",
                    "type": "query",
                    "label": "Process",
                    "datasource": SOURCE,
                    "definition": 'label_values(up{job="tideline"}, instance)',
                    "query": {"query": 'label_values(up{job="tideline"}, instance)', "refId": "instance"},
                    "refresh": 2,
                    "sort": 1,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": ["All"], "value": ["$__all"]},
                },
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def rate(metric, by, more=""):
    return f"sum by ({by}) (rate({metric}{{i{more}}}[$__rate_interval]))"


def increase(metric, by, more=""):
    return f"sum by ({by}) (increase({metric}{{i{more}}}[1h]))"


def quantile(q, metric, by, more="", window="$__rate_interval"):
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{{i{more}}}[{window}])))"


SHARD = "{{source}}/{{partition}}"
CLOSING = "{{view}}/{{partition}}"

PLATFORM = dashboard(
    "tideline",
    "Tideline",
    "The platform as a whole: is it up, how far is it, do the layers agree.",
    [
        (
            "Now",
            [
                stat("Processes up", "Processes that answer, by role.", "short", 'count by (role) (up{job="tideline"} == 1)', "{{role}}", width=6),
                stat("Records/s taken in", "By the speed layer.", "cps", "sum(rate(tideline_speed_records_total{i}[$__rate_interval]))"),
                stat(
                    "Records behind",
                    "Records of the log that the speed layer has not taken in yet.",
                    "short",
                    "sum(max by (source, partition) (tideline_speed_lag_records{i}))",
                    steps=thresholds((10_000, YELLOW), (100_000, RED)),
                ),
                stat(
                    "Freshness, p99",
                    "How long ago the log took a record when it became visible.",
                    "s",
                    "histogram_quantile(0.99, sum by (le) (rate(tideline_speed_freshness_seconds_bucket{i}[$__rate_interval])))",
                    steps=thresholds((1, YELLOW), (10, RED)),
                ),
                stat(
                    "Unexplained differences",
                    "Panes where speed and batch differ and nothing explains it. Must be 0.",
                    "short",
                    "sum(max by (view) (tideline_agreement_unexplained_panes{i}))",
                    steps=ZERO,
                ),
                stat(
                    "Alerts",
                    "Alerts of infra/prometheus/rules that fire; docs/operations.md says what to do about each.",
                    "short",
                    'count(ALERTS{alertname=~"Tideline.*", alertstate="firing"}) or vector(0)',
                    steps=ZERO,
                    width=2,
                ),
                stat("Shards that stand", "Paused or failed; /v1/status says why.", "short", "sum(max by (source, partition) (tideline_speed_stalled{i}))", steps=ZERO),
                stat(
                    "Views that do not close",
                    "Partitions of views whose windows do not close: paused or failed.",
                    "short",
                    "sum(max by (view, partition) (tideline_close_stalled{i}))",
                    steps=ZERO,
                ),
                stat(
                    "Connectors down",
                    "Connectors whose last poll has not worked, in no process.",
                    "short",
                    "count(max by (connector) (tideline_connector_up{i}) == 0) or vector(0)",
                    steps=ZERO,
                ),
                stat("Stores down", "Stores that a process could not read when it last tried.", "short", "count(tideline_serving_store_up{i} == 0) or vector(0)", steps=ZERO),
                stat(
                    "Since a batch run succeeded",
                    "Old when the schedule is rare, or runs fail.",
                    "s",
                    'time() - max(tideline_batch_last_run_seconds{i, outcome="succeeded"})',
                    steps=thresholds((3600, YELLOW), (6 * 3600, RED)),
                ),
                stat("Since the layers were compared", "After each published version.", "s", "time() - max(tideline_agreement_compared_at_seconds{i})"),
            ],
        ),
        (
            "Flow",
            [
                Panel("Records taken over HTTP", "POST /v1/topics, by topic.", "cps", (rate("tideline_http_records_total", "topic"), "{{topic}}")),
                Panel("Records of connectors", "Appended by connectors.", "cps", (rate("tideline_connector_records_total", "connector"), "{{connector}}")),
                Panel("Records taken in", "By the speed layer, by source.", "cps", (rate("tideline_speed_records_total", "source"), "{{source}}")),
                Panel("Records of outputs", "Closed windows and rows that were appended to topics.", "cps", (rate("tideline_output_rows_total", "output"), "{{output}}")),
                Panel("Alerts of the definitions", "Fired in the last hour.", "short", (increase("tideline_alerts_total", "alert"), "{{alert}}")),
                Panel("Rows answered", "By view.", "cps", (rate("tideline_http_rows_total", "view"), "{{view}}")),
                Panel("Live sockets", "Open, by process.", "short", ("tideline_live_sockets{i}", "{{instance}}")),
                Panel("Predictions", "Made, by version.", "cps", (rate("ml_predictions_total", "prediction, model_version"), "{{prediction}} {{model_version}}")),
                Panel("Errors of predictions", "Mean absolute error of all that were compared, by version.", "short", ("max by (prediction, model_version) (ml_mae{i})", "{{prediction}} {{model_version}}")),
            ],
        ),
        (
            "Progress",
            [
                Panel(
                    "Watermark behind now",
                    "Event time up to which a partition has been taken in. Large while old data is replayed.",
                    "s",
                    ("time() - max by (source, partition) (tideline_speed_watermark_seconds{i})", SHARD),
                ),
                Panel(
                    "Closed windows behind now",
                    "Event time up to which no shard changes anything any more.",
                    "s",
                    ("time() - max by (view, partition) (tideline_close_watermark_seconds{i})", CLOSING),
                ),
                Panel(
                    "Tideline behind now",
                    "How far the batch layer has come in each view, in event time.",
                    "s",
                    ("time() - max by (view) (tideline_batch_through_seconds{i})", "{{view}}"),
                ),
            ],
        ),
        (
            "Processes",
            [
                Panel("Memory", "Resident memory of each process.", "bytes", ("process_resident_memory_bytes{i}", "{{role}} {{instance}}")),
                Panel("Restarts", "Times that a process began again in the last hour.", "short", ("changes(process_start_time_seconds{i}[1h])", "{{role}} {{instance}}")),
                Panel("Versions", "Which version each process is.", "short", ("tideline_build_info{i}", ""), kind="table", width=8),
            ],
        ),
    ],
)

POST = ', route="/v1/topics/{topic}"'

INGEST = dashboard(
    "tideline-ingest",
    "Tideline: ingest",
    "Records on their way into the log: over HTTP, and from connectors.",
    [
        (
            "HTTP",
            [
                Panel("Records", "Taken by POST /v1/topics, by topic.", "cps", (rate("tideline_http_records_total", "topic"), "{{topic}}")),
                Panel("Requests by status", "503 means that the log cannot be written or is full: senders must try again.", "reqps", (rate("tideline_http_requests_total", "status", POST), "{{status}}")),
                Panel(
                    "Duration of a request",
                    "Until the log has acknowledged all of its records.",
                    "s",
                    (quantile(0.5, "tideline_http_request_seconds", "route", POST), "p50"),
                    (quantile(0.99, "tideline_http_request_seconds", "route", POST), "p99"),
                ),
            ],
        ),
        (
            "Connectors",
            [
                Panel("Up", "1 when the last poll has worked, in the process that has the connector.", "short", ("max by (connector) (tideline_connector_up{i})", "{{connector}}")),
                Panel("Since the last poll", "That has worked.", "s", ("time() - max by (connector) (tideline_connector_last_poll_seconds{i})", "{{connector}}")),
                Panel("Polls", "In the last hour.", "short", (increase("tideline_connector_polls_total", "connector, outcome"), "{{connector}} {{outcome}}")),
                Panel("Records", "Appended.", "cps", (rate("tideline_connector_records_total", "connector"), "{{connector}}")),
                Panel("Left out by filters", "Keywords and languages.", "cps", (rate("tideline_connector_filtered_total", "connector"), "{{connector}}")),
                Panel("Gaps", "Polls of the last hour that came too late: the API no longer had everything.", "short", (increase("tideline_connector_gaps_total", "connector"), "{{connector}}"), steps=ZERO),
                Panel("Duration of API requests, p95", "Over an hour, as polls are rare.", "s", (quantile(0.95, "tideline_connector_request_seconds", "connector", window="1h"), "{{connector}}")),
                Panel("API requests that have not worked", "Each attempt, in the last hour.", "short", (increase("tideline_connector_request_errors_total", "connector, kind"), "{{connector}} {{kind}}")),
            ],
        ),
    ],
)

SPEED = dashboard(
    "tideline-speed",
    "Tideline: speed",
    "The speed layer: from the log to what can be seen.",
    [
        (
            "Progress",
            [
                Panel("Records taken in", "By source.", "cps", (rate("tideline_speed_records_total", "source"), "{{source}}")),
                Panel(
                    "Lag",
                    "Records of the log that have not been taken in.",
                    "short",
                    ("max by (source, partition) (tideline_speed_lag_records{i})", SHARD),
                    steps=thresholds((100_000, RED)),
                ),
                Panel(
                    "Freshness",
                    "How long ago the log took the newest record of a flush when that became visible.",
                    "s",
                    (quantile(0.5, "tideline_speed_freshness_seconds", "source"), "{{source}} p50"),
                    (quantile(0.99, "tideline_speed_freshness_seconds", "source"), "{{source}} p99"),
                    steps=thresholds((10, RED)),
                ),
                Panel("Watermark behind now", "Event time; large while old data is replayed.", "s", ("time() - max by (source, partition) (tideline_speed_watermark_seconds{i})", SHARD)),
                Panel("Shards that stand", "1 while paused or failed; /v1/status says why.", "short", ("max by (source, partition) (tideline_speed_stalled{i})", SHARD), steps=ZERO),
                Panel("Rebalances", "Changes of what workers work on, in the last hour.", "short", (increase("tideline_speed_rebalances_total", "kind"), "{{kind}}")),
            ],
        ),
        (
            "What is left out",
            [
                Panel("Dead letters", "Records that could not be read, by reason.", "cps", (rate("tideline_speed_rejected_total", "source, reason"), "{{source}} {{reason}}")),
                Panel("Late rows", "Left to batch, once per view that they were late for.", "cps", (rate("tideline_speed_late_total", "source"), "{{source}}")),
                Panel("Duplicates", "Left out.", "cps", (rate("tideline_speed_duplicates_total", "source"), "{{source}}")),
            ],
        ),
        (
            "Where the time goes",
            [
                Panel("Duration of a micro-batch, p99", "From records to states.", "s", (quantile(0.99, "tideline_speed_batch_seconds", "source"), "{{source}}")),
                Panel("Duration of a flush, p99", "From states to what can be seen.", "s", (quantile(0.99, "tideline_speed_flush_seconds", "source"), "{{source}}")),
                Panel("Duration of a commit, p99", "Sync, Bronze, dead letters, checkpoint; beside the work.", "s", (quantile(0.99, "tideline_speed_commit_seconds", "source"), "{{source}}")),
                Panel(
                    "Stages",
                    "Seconds of work per second and stage, over all shards: what takes the time.",
                    "percentunit",
                    ("sum by (stage) (rate(tideline_speed_stage_seconds_sum{i}[$__rate_interval]))", "{{stage}}"),
                    width=16,
                ),
                Panel("Panes written", "To the view store.", "cps", (rate("tideline_speed_flushed_panes_total", "source"), "{{source}}")),
            ],
        ),
        (
            "What lasts",
            [
                Panel(
                    "Since the last checkpoint",
                    "A shard that takes nothing in makes none.",
                    "s",
                    ("time() - max by (source, partition) (tideline_speed_checkpoint_seconds{i})", SHARD),
                    steps=thresholds((180, RED)),
                ),
                Panel("Size of checkpoints", "The last of each shard.", "bytes", ("max by (source, partition) (tideline_speed_checkpoint_bytes{i})", SHARD)),
                Panel("Bronze written", "Bytes.", "Bps", (rate("tideline_speed_bronze_bytes_total", "source"), "{{source}}")),
                Panel("State", "Memory of open panes, remembered keys and late counts, estimated.", "bytes", ("sum by (source) (tideline_speed_state_bytes{i})", "{{source}}")),
                Panel("Changes appended", "To the topics from which rankings, outputs and alerts live.", "cps", (rate("tideline_speed_changes_total", "source"), "{{source}}")),
                Panel(
                    "Checkpoints that were not made or read",
                    "In the last hour. Withheld: changes before them could not be appended. Damaged: the one before was used.",
                    "short",
                    (increase("tideline_speed_checkpoints_withheld_total", "source"), "{{source}} withheld"),
                    (increase("tideline_speed_corrupt_checkpoints_total", "source"), "{{source}} damaged"),
                    (increase("tideline_speed_changes_given_up_total", "source"), "{{source}} changes given up"),
                ),
            ],
        ),
        (
            "Troubles",
            [
                Panel("Tried again", "Things that failed and are tried again, by what.", "cps", (rate("tideline_speed_retries_total", "source, what"), "{{source}} {{what}}")),
                Panel(
                    "Shards begun again, given up, dropped",
                    "In the last hour. Dropped: one that did not end in order in time.",
                    "short",
                    (increase("tideline_speed_restarts_total", "source, partition"), SHARD + " begun again"),
                    (increase("tideline_speed_failed_total", "source, partition"), SHARD + " given up"),
                    (increase("tideline_speed_dropped_total", "source, what"), "{{source}} dropped: {{what}}"),
                ),
                Panel("Files of another writer", "Bronze that another worker had written first, in the last hour: after a partition has moved.", "short", (increase("tideline_speed_bronze_adopted_total", "source"), "{{source}}")),
            ],
        ),
    ],
)

CLOSE = dashboard(
    "tideline-closing",
    "Tideline: closing windows",
    "Windows that are over, and what follows from them: outputs, alerts, webhooks.",
    [
        (
            "Windows",
            [
                Panel("Watermark behind now", "Up to where no shard changes anything any more, in event time.", "s", ("time() - max by (view, partition) (tideline_close_watermark_seconds{i})", CLOSING)),
                Panel("Rows of closed windows", "By view.", "cps", (rate("tideline_close_rows_total", "view"), "{{view}}")),
                Panel("Lag", "Changes that have not been taken in.", "short", ("max by (view, partition) (tideline_close_lag_records{i})", CLOSING)),
                Panel("Views that do not close", "1 while paused or failed; process.closing in /v1/status says why.", "short", ("max by (view, partition) (tideline_close_stalled{i})", CLOSING), steps=ZERO),
                Panel("Changed after closing", "Groups of the last hour: a partition was taken for idle, and was not. Outputs lack it.", "short", (increase("tideline_close_late_total", "view"), "{{view}}"), steps=ZERO),
                Panel("State", "Memory of open panes, estimated.", "bytes", ("max by (view, partition) (tideline_close_state_bytes{i})", CLOSING)),
                Panel("Size of checkpoints", "The last of each partition.", "bytes", ("max by (view, partition) (tideline_close_checkpoint_bytes{i})", CLOSING)),
                Panel(
                    "Troubles",
                    "In the last hour. Reloads: changes had expired, and the views were read instead.",
                    "short",
                    (increase("tideline_close_retries_total", "view, what"), "{{view}} tried again: {{what}}"),
                    (increase("tideline_close_restarts_total", "view"), "{{view}} begun again"),
                    (increase("tideline_close_reloads_total", "view"), "{{view}} reloads"),
                    (increase("tideline_close_corrupt_checkpoints_total", "view"), "{{view}} damaged checkpoints"),
                    (increase("tideline_close_failed_total", "view"), "{{view}} given up"),
                    width=16,
                ),
            ],
        ),
        (
            "What follows",
            [
                Panel("Records of outputs", "Appended to the topics of outputs.", "cps", (rate("tideline_output_rows_total", "output"), "{{output}}")),
                Panel("Alerts", "Fired in the last hour.", "short", (increase("tideline_alerts_total", "alert"), "{{alert}}")),
                Panel(
                    "Posts to webhooks",
                    "In the last hour. Given up, refused, dropped: nobody was told; the topic tideline.alerts has them.",
                    "short",
                    (increase("tideline_alert_posts_total", "alert, outcome"), "{{alert}} {{outcome}}"),
                    (increase("tideline_alert_posts_dropped_total", "view"), "{{view}} not posted: too many waited"),
                ),
            ],
        ),
    ],
)

BATCH = dashboard(
    "tideline-batch",
    "Tideline: batch and agreement",
    "The batch layer, and whether both layers say the same.",
    [
        (
            "Runs",
            [
                stat(
                    "Since a run succeeded",
                    "Old when the schedule is rare, or runs fail.",
                    "s",
                    'time() - max(tideline_batch_last_run_seconds{i, outcome="succeeded"})',
                    steps=thresholds((3600, YELLOW), (6 * 3600, RED)),
                    width=8,
                ),
                stat("Unexplained differences", "Panes where the layers differ and nothing explains it. Must be 0.", "short", "sum(max by (view) (tideline_agreement_unexplained_panes{i}))", steps=ZERO, width=8),
                stat("Version compared last", "Of what batch has published.", "short", "max(tideline_agreement_version{i})", width=8),
                Panel("Tideline behind now", "How far batch has come in each view, in event time.", "s", ("time() - max by (view) (tideline_batch_through_seconds{i})", "{{view}}")),
                Panel(
                    "Runs",
                    "In the last hour. Skipped ticks: a run was still at work.",
                    "short",
                    (increase("tideline_batch_runs_total", "outcome"), "{{outcome}}"),
                    ("sum(increase(tideline_batch_skipped_ticks_total{i}[1h]))", "skipped ticks"),
                    (increase("tideline_batch_report_failures_total", "report"), "report {{report}} failed"),
                ),
                Panel("Duration of stages, p95", "Over an hour.", "s", (quantile(0.95, "tideline_batch_stage_seconds", "stage", window="1h"), "{{stage}}")),
            ],
        ),
        (
            "Bronze and Silver",
            [
                Panel("Records into Silver", "By source.", "cps", (rate("tideline_batch_records_total", "source"), "{{source}}")),
                Panel("Records that could not be read", "By reason.", "cps", (rate("tideline_batch_rejected_total", "source, reason"), "{{source}} {{reason}}")),
                Panel("Units of shared runs", "With batch.share, in the last hour. Late: another process was faster.", "short", (increase("tideline_batch_units_total", "outcome"), "{{outcome}}")),
                Panel(
                    "Files",
                    "In the last hour: Bronze joined to bigger files, or dropped by retention; objects that no kept version needs.",
                    "short",
                    ("sum(increase(tideline_batch_bronze_joined_total{i}[1h]))", "Bronze joined"),
                    ("sum(increase(tideline_batch_bronze_dropped_total{i}[1h]))", "Bronze dropped"),
                    ("sum(increase(tideline_batch_deleted_objects_total{i}[1h]))", "deleted"),
                ),
                Panel("Buckets that stay as they are", "Late rows fell into them, and their Silver has been dropped. In the last hour.", "short", (increase("tideline_batch_frozen_buckets_total", "view"), "{{view}}")),
            ],
        ),
        (
            "Publication in ClickHouse",
            [
                Panel("Version", "Newest that ClickHouse has taken in.", "short", ("max(tideline_batch_publication_version{i})", "version")),
                Panel(
                    "Taken in",
                    "In the last hour.",
                    "short",
                    ("sum(increase(tideline_batch_publication_files_total{i}[1h]))", "files"),
                    ("sum(increase(tideline_batch_publication_rows_total{i}[1h]))", "rows"),
                    (increase("tideline_batch_publication_failures_total", "step"), "failures: {{step}}"),
                ),
                Panel("Bytes taken in", "Per second.", "Bps", ("sum(rate(tideline_batch_publication_bytes_total{i}[$__rate_interval]))", "bytes")),
                Panel(
                    "Duration, p95",
                    "Of telling it of a version, over an hour.",
                    "s",
                    ("histogram_quantile(0.95, sum by (le) (rate(tideline_batch_publication_seconds_bucket{i}[1h])))", "p95"),
                ),
            ],
        ),
        (
            "Agreement",
            [
                Panel("Panes compared", "In the last hour, by outcome: equal, the explanations, unexplained.", "short", (increase("tideline_agreement_panes_total", "outcome"), "{{outcome}}")),
                Panel("Unexplained differences", "Must be 0.", "short", ("max by (view) (tideline_agreement_unexplained_panes{i})", "{{view}}"), steps=ZERO),
                Panel("Comparisons", "In the last hour.", "short", (increase("tideline_agreement_comparisons_total", "outcome"), "{{outcome}}")),
            ],
        ),
    ],
    start="now-6h",
)

SERVING = dashboard(
    "tideline-serving",
    "Tideline: answers",
    "What is asked, how long answers take, and what they lack.",
    [
        (
            "Requests",
            [
                Panel("By route", "Requests per second.", "reqps", (rate("tideline_http_requests_total", "route"), "{{route}}")),
                Panel("By status", "Requests per second.", "reqps", (rate("tideline_http_requests_total", "status"), "{{status}}")),
                Panel("Rows answered", "By view.", "cps", (rate("tideline_http_rows_total", "view"), "{{view}}")),
                Panel("Duration, median", "By route.", "s", (quantile(0.5, "tideline_http_request_seconds", "route"), "{{route}}")),
                Panel("Duration, p99", "By route.", "s", (quantile(0.99, "tideline_http_request_seconds", "route"), "{{route}}")),
                Panel(
                    "Share of errors",
                    "5xx, by route; without readiness, which is asked for its 503.",
                    "percentunit",
                    (
                        '(sum by (route) (rate(tideline_http_requests_total{i, status=~"5..", route!="/readyz"}[$__rate_interval]))'
                        ' or 0 * sum by (route) (rate(tideline_http_requests_total{i, route!="/readyz"}[$__rate_interval])))'
                        ' / sum by (route) (rate(tideline_http_requests_total{i, route!="/readyz"}[$__rate_interval]))',
                        "{{route}}",
                    ),
                    steps=thresholds((0.05, RED)),
                ),
            ],
        ),
        (
            "Stores",
            [
                Panel("Up", "1 when the store last answered, per process.", "short", ("tideline_serving_store_up{i}", "{{store}} {{instance}}")),
                Panel("Reads", "By outcome. Refused: the store is left alone until it answers a probe.", "cps", (rate("tideline_serving_store_reads_total", "store, outcome"), "{{store}} {{outcome}}")),
                Panel("Duration of a read, p95", "By store.", "s", (quantile(0.95, "tideline_serving_store_read_seconds", "store"), "{{store}}")),
                Panel("Partial answers", "Parts that answers lacked, by layer and reason.", "cps", (rate("tideline_serving_partial_answers_total", "layer, reason"), "{{layer}} {{reason}}")),
            ],
        ),
        (
            "Rankings",
            [
                Panel("Ready", "1 while a ranking is kept ready, per process.", "short", ("tideline_serving_rankings_ready{i}", "{{view}} {{instance}}")),
                Panel("Where they come from", "From memory, or from the stores and why.", "cps", (rate("tideline_serving_rankings_total", "view, from"), "{{view}} {{from}}")),
                Panel("Copies thrown away", "In the last hour, and why.", "short", (increase("tideline_serving_rankings_reloads_total", "view, because"), "{{view}} {{because}}")),
                Panel("Keys", "In the window of a ranking.", "short", ("max by (view) (tideline_serving_rankings_keys{i})", "{{view}}")),
                Panel("Memory", "Of a ranking, estimated, per process.", "bytes", ("tideline_serving_rankings_bytes{i}", "{{view}} {{instance}}")),
            ],
        ),
        (
            "Live",
            [
                Panel("Sockets", "Open, by process.", "short", ("tideline_live_sockets{i}", "{{instance}}")),
                Panel("Frames", "Sent, by kind.", "cps", (rate("tideline_live_frames_total", "kind"), "{{kind}}")),
                Panel("Bytes", "Sent in frames.", "Bps", ("sum(rate(tideline_live_bytes_total{i}[$__rate_interval]))", "bytes")),
                Panel(
                    "Not sent",
                    "In the last hour: messages of which only the newest were sent, and alerts that a client was too slow for.",
                    "short",
                    (increase("tideline_live_skipped_messages_total", "output"), "messages of {{output}}"),
                    ("sum(increase(tideline_live_missed_alerts_total{i}[1h]))", "alerts"),
                ),
            ],
        ),
    ],
)

VERSION = "{{prediction}} {{model_version}}"

PREDICTION = dashboard(
    "tideline-prediction",
    "Tideline: prediction",
    "Predictions of the next window, and how good they are.",
    [
        (
            "How good",
            [
                Panel("Mean absolute error", "Of all predictions that were compared, by version.", "short", ("max by (prediction, model_version, partition) (ml_mae{i})", VERSION + " {{partition}}")),
                Panel("Root of the mean squared error", "Of all predictions that were compared, by version.", "short", ("max by (prediction, model_version, partition) (ml_rmse{i})", VERSION + " {{partition}}")),
                Panel(
                    "R²",
                    "1 is perfect, 0 is as good as the mean; very negative while little has been learnt.",
                    "short",
                    ("max by (prediction, model_version, partition) (ml_r2{i})", VERSION + " {{partition}}"),
                    minimum=None,
                ),
                Panel("Share of features that have drifted", "The current hour against the one a day before; at half of them the data has drifted.", "percentunit", ("max by (prediction, partition) (ml_drift_share{i})", "{{prediction}} {{partition}}"), steps=thresholds((0.5, RED))),
                Panel("Drift", "1 when the data has drifted.", "short", ("max by (prediction, partition) (ml_drift{i})", "{{prediction}} {{partition}}"), steps=ZERO),
                Panel("Refused", "1 while nothing is predicted: what was saved does not fit the definition.", "short", ("max by (prediction, partition) (tideline_prediction_refused{i})", "{{prediction}} {{partition}}"), steps=ZERO),
            ],
        ),
        (
            "How much, how fast",
            [
                Panel("Predictions", "Made, by version.", "cps", (rate("ml_predictions_total", "prediction, model_version"), VERSION)),
                Panel("Time to learn a window, p99", "All versions.", "s", (quantile(0.99, "ml_update_seconds", "prediction", window="1h"), "{{prediction}}")),
                Panel("Time to predict, p99", "All versions.", "s", (quantile(0.99, "ml_prediction_seconds", "prediction", window="1h"), "{{prediction}}")),
            ],
        ),
    ],
)

DASHBOARDS = {
    "tideline.json": PLATFORM,
    "ingest.json": INGEST,
    "speed.json": SPEED,
    "closing.json": CLOSE,
    "batch.json": BATCH,
    "serving.json": SERVING,
    "prediction.json": PREDICTION,
}


def main():
    made = {name: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in DASHBOARDS.items()}
    if sys.argv[1:] == ["--check"]:
        there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
        wrong = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
        if wrong:
            sys.exit(f"dashboards: not what dashboards/grafana/make.py writes: {', '.join(wrong)}")
        return
    for name, text in made.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
