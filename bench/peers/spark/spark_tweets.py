#!/usr/bin/env python3
"""Spark Structured Streaming on the topic: windows of 5 minutes sliding by 1, per $SYMBOL.

    spark_tweets.py plain|vader [check]

plain  mean and deviation of the text's length      vader  of its VADER compound (a pandas UDF)
check  the sums of the answers in place of the count of rows: to compare them, not to be timed

One line of JSON: input records, wall seconds from the start of the query to its end, rows, CPU seconds of this machine's
JVM and Python workers. Environment: KAFKA=host:port, SPARK_KAFKA_LIB=folder of the connector's jars, PYSPARK_PYTHON.
"""

import json
import os
import sys
import tempfile
import time

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

mode, check = sys.argv[1], "check" in sys.argv[2:]
jars = os.environ["SPARK_KAFKA_LIB"]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", ",".join(os.path.join(jars, name) for name in os.listdir(jars)))
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.driver.memory", "4g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.execution.arrow.maxRecordsPerBatch", "10000")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


@F.pandas_udf("double")
def vader(texts: pd.Series) -> pd.Series:
    global analyzer
    try:
        analyzer
    except NameError:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        analyzer = SentimentIntensityAnalyzer()
    return texts.map(lambda text: analyzer.polarity_scores(text)["compound"])


schema = T.StructType([T.StructField(name, T.StringType()) for name in ("created_at", "text", "user_id")])
tweets = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", os.environ.get("KAFKA", "127.0.0.1:9092"))
    .option("subscribe", "tweets")
    .option("startingOffsets", "earliest")
    .load()
    .select(F.from_json(F.col("value").cast("string"), schema).alias("j"))
    .select("j.*")
    .withColumn("event_time", F.to_timestamp("created_at", "yyyy-MM-dd HH:mm:ss"))
)
measured = vader("text") if mode == "vader" else F.length("text").cast("double")
mentions = tweets.withColumn("measured", measured).withColumn(
    "symbol", F.explode(F.expr(r"regexp_extract_all(text, '\\$([A-Z]{1,6})\\b', 1)"))
)
windows = (
    mentions.withWatermark("event_time", "2 minutes")
    .groupBy(F.window("event_time", "5 minutes", "1 minute"), "symbol")
    .agg(F.count("*").alias("n"), F.avg("measured").alias("mean"), F.stddev("measured").alias("deviation"))
)
totals = {"rows": 0, "count": 0, "mean": 0.0, "deviation": 0.0}


def sink(batch, _):
    if not check:
        totals["rows"] += batch.count()
        return
    row = batch.agg(F.count("*"), F.sum("n"), F.sum("mean"), F.sum("deviation")).first()
    for name, value in zip(totals, row):
        totals[name] += value or 0


def cpu():
    """CPU seconds of this process, its JVM and its workers."""
    ticks, me, parents = 0, os.getpid(), {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(pid)] = (int(fields[1]), sum(map(int, fields[11:15])))
    for pid, (_, used) in parents.items():
        at = pid
        while at and at != me:
            at = parents.get(at, (0, 0))[0]
        ticks += used if at == me else 0
    return ticks / os.sysconf("SC_CLK_TCK")


before, began = cpu(), time.time()
with tempfile.TemporaryDirectory() as checkpoints:
    query = (
        windows.writeStream.outputMode("update").foreachBatch(sink)
        .option("checkpointLocation", checkpoints).trigger(availableNow=True).start()
    )
    query.awaitTermination()
    wall = time.time() - began
    records = sum(progress["numInputRows"] for progress in query.recentProgress)
    used = cpu() - before
    print(json.dumps({"mode": mode, "records": records, "wall": round(wall, 2), "rate": round(records / wall), "cpu": round(used, 1), **totals}))
