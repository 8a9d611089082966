package peers;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Usage: FlinkPeer A|B [key=value ...]   (extra key=value pairs go into the Flink configuration)
 *
 * A "plain": JSON, event time, $SYMBOLs, HOP 5 min / 1 min by symbol, count/avg/stddev -> blackhole
 * B "views": TUMBLE 10 s by user_id, count -> blackhole
 *
 * wall = executeSql("INSERT ...") -> job finished: planning, MiniCluster start, deployment, JIT warm-up, reading,
 * final window flush and the final checkpoint are all inside.
 */
public class FlinkPeer {
    static final long N = Long.getLong("expected", 968260L);

    public static void main(String[] a) throws Exception {
        long main0 = System.nanoTime();
        String job = a[0];
        Path ck = Paths.get(System.getProperty("work", System.getProperty("java.io.tmpdir")), "ck-" + job + "-" + ProcessHandle.current().pid());
        Configuration c = new Configuration();
        c.setString("execution.runtime-mode", "STREAMING");
        c.setString("parallelism.default", "2");
        c.setString("execution.checkpointing.interval", "10 s");
        c.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        c.setString("state.backend.type", "hashmap");
        c.setString("execution.checkpointing.storage", "filesystem");
        c.setString("execution.checkpointing.dir", ck.toUri().toString());
        c.setString("taskmanager.numberOfTaskSlots", "2");
        c.setString("metrics.reporter.probe.factory.class", "peers.ProbeFactory");
        for (int i = 1; i < a.length; i++) {
            int e = a[i].indexOf('=');
            c.setString(a[i].substring(0, e), a[i].substring(e + 1));
        }
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(c);
        env.setParallelism(2);
        StreamTableEnvironment t = StreamTableEnvironment.create(env);
        t.getConfig().set("table.local-time-zone", "UTC");
        t.createTemporarySystemFunction("symbols", Symbols.class);
        t.executeSql(
                "CREATE TABLE tweets (created_at TIMESTAMP(3), `text` STRING, user_id STRING,"
                        + " WATERMARK FOR created_at AS created_at - INTERVAL '2' MINUTE) WITH ("
                        + " 'connector'='kafka','topic'='tweets','properties.bootstrap.servers'='"
                        + System.getProperty("kafka", "127.0.0.1:9092") + "',"
                        + " 'properties.group.id'='flink-peer-" + job + "-" + System.currentTimeMillis() + "',"
                        + " 'scan.startup.mode'='earliest-offset','scan.bounded.mode'='latest-offset',"
                        + " 'format'='json','json.timestamp-format.standard'='SQL')");
        String insert;
        if (job.equals("A")) {
            t.executeSql("CREATE TABLE sink (ws TIMESTAMP(3), we TIMESTAMP(3), sym STRING, n BIGINT, m DOUBLE, sd DOUBLE)"
                    + " WITH ('connector'='blackhole')");
            t.executeSql("CREATE TEMPORARY VIEW tagged AS SELECT created_at, sym, CAST(CHAR_LENGTH(`text`) AS DOUBLE) AS len"
                    + " FROM (SELECT created_at, `text` FROM tweets), LATERAL TABLE(symbols(`text`)) AS s(sym)");
            insert = "INSERT INTO sink SELECT window_start, window_end, sym, COUNT(*), AVG(len), STDDEV_SAMP(len)"
                    + " FROM HOP(TABLE tagged, DESCRIPTOR(created_at), INTERVAL '1' MINUTE, INTERVAL '5' MINUTES)"
                    + " GROUP BY window_start, window_end, sym";
        } else {
            t.executeSql("CREATE TABLE sink (ws TIMESTAMP(3), we TIMESTAMP(3), user_id STRING, n BIGINT)"
                    + " WITH ('connector'='blackhole')");
            insert = "INSERT INTO sink SELECT window_start, window_end, user_id, COUNT(*)"
                    + " FROM TUMBLE(TABLE tweets, DESCRIPTOR(created_at), INTERVAL '10' SECONDS)"
                    + " GROUP BY window_start, window_end, user_id";
        }
        if (Boolean.getBoolean("explain")) System.out.println(t.explainSql(insert));
        // -Dcheck: same query, but collect the result and print totals (a correctness check, not timed)
        if (Boolean.getBoolean("check")) {
            long rows = 0, sum = 0;
            double sd = 0, m = 0;
            try (var it = t.executeSql(insert.replace("INSERT INTO sink ", "")).collect()) {
                while (it.hasNext()) {
                    var r = it.next();
                    rows++;
                    sum += (Long) r.getField(3);
                    if (job.equals("A")) {
                        m += (Double) r.getField(4);
                        if (r.getField(5) != null) sd += (Double) r.getField(5);
                    }
                }
            }
            System.out.printf("CHECK job=%s rows=%d sum(n)=%d sum(avg)=%.3f sum(sd)=%.3f%n", job, rows, sum, m, sd);
            rm(ck);
            return;
        }
        // -Drepeat=k submits the job k times in this JVM: run 1 is the cold figure, later ones show it JIT-warm.
        for (int k = 1; k <= Integer.getInteger("repeat", 1); k++) {
            Probe p = Probe.INSTANCE;
            p.reset();
            p.watch("Source: ", N);
            long cpu = cpuNs();
            long s = System.nanoTime();
            TableResult r = t.executeSql(insert);
            r.await();
            long e = System.nanoTime();
            double wall = (e - s) / 1e9;
            long in = p.sum("Source: ", "numRecordsOut");
            double first = p.firstNs == 0 ? -1 : (p.firstNs - s) / 1e9, last = p.lastNs == 0 ? -1 : (p.lastNs - s) / 1e9;
            System.out.printf(
                    "RESULT flink job=%s run_in_jvm=%d wall=%.2f rate=%.0f in=%d out=%d first_rec=%.2f last_rec=%.2f tail=%.2f"
                            + " rate_to_last=%.0f steady=%.0f ckpts=%d cpu=%.2f jvm_before_submit=%.2f%n",
                    job, k, wall, in / wall, in, p.sum("sink", "numRecordsIn"), first, last, wall - last, in / last,
                    in / (last - first), p.checkpoints(), (cpuNs() - cpu) / 1e9,
                    (s - main0) / 1e9);
            if (Boolean.getBoolean("counters")) p.totals().forEach((n, v) -> System.out.println("  " + n + " = " + v));
        }
        rm(ck);
        System.exit(0);
    }

    /** CPU time of this JVM: all its threads, the compiler's and the collector's too. */
    static long cpuNs() {
        return ((com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }

    static void rm(Path d) throws Exception {
        if (!Files.exists(d)) return;
        try (Stream<Path> f = Files.walk(d)) {
            f.sorted(java.util.Comparator.reverseOrder()).forEach(x -> x.toFile().delete());
        }
    }
}
