"""The faults: each a thread that does its harm and mends it again."""

import os
import random
import threading
import time

from confluent_kafka import TopicPartition

import truth as T

# How likely each is to be among those of an iteration that are drawn. Slow ones (a JVM has to start again) are rare.
WEIGHTS = {
    "kill speed": 5, "kill serve": 2, "kill ingest": 2, "kill batch": 3, "rescale": 4, "zombie": 3, "expire log": 2,
    "damage checkpoint": 1, "run batch": 2, "pause kafka": 1, "pause cassandra": 2, "pause minio": 2, "pause clickhouse": 1,
    "slow kafka": 1, "slow cassandra": 1, "slow minio": 1, "slow clickhouse": 1,
    "kill minio": 3, "kill clickhouse": 2, "kill kafka": 1.5, "kill cassandra": 1.5,
}
NOTHING = "nothing to do"
SLOW = {"kill kafka", "kill cassandra", "zombie"}
WORKERS_MAX = 3
# At most so many of an iteration are such as had not been there.
FAULTS_OWED = 6


class Fault(threading.Thread):
    def __init__(self, run, kind, at, rng):
        super().__init__(name=kind, daemon=True)
        self.harm, self.kind, self.at, self.rng, self.error = run, kind, at, rng, None

    def run(self):
        try:
            time.sleep(self.at)
            self.harm.event(f"{self.kind}")
            verb, _, what = self.kind.partition(" ")
            # Threads have a `run` of their own: no verb is a method's whole name.
            done = getattr(self, f"{verb}_one")(what)
            self.harm.event(f"{self.kind}: {done or 'done'}")
            if done == NOTHING:
                self.harm.owed.append(self.kind)
            else:
                self.harm.faults[self.kind] += 1
        except Exception as error:
            self.harm.event(f"{self.kind}: {error!r}")
            self.error = error

    def any_of(self, kind):
        """A running role of this kind that no other fault works on, locked; None when there is none."""
        roles = self.harm.cluster.of(kind)
        self.rng.shuffle(roles)
        for role in roles:
            if role.busy.acquire(blocking=False):
                if role.alive() and not role.stopped and role.wanted:
                    return role
                role.busy.release()
        return None

    def kill_one(self, what):
        if what in self.harm.servers.busy:
            self.harm.servers.kill_and_start(what, self.rng.uniform(0, 0.8))
            return None
        role = self.any_of(what)
        if not role:
            return NOTHING
        try:
            role.kill()
            time.sleep(self.rng.choice([0, self.rng.uniform(0, 1.5)]))
            role.start()
            return role.name
        finally:
            role.busy.release()

    def pause_one(self, what):
        # Also longer than a session, a lease or a request may take.
        seconds = self.rng.choice([self.rng.uniform(0.3, 3), self.rng.uniform(3, 7)])
        self.harm.servers.pause(what, seconds)
        return f"{seconds:.1f} s"

    def slow_one(self, what):
        """The server runs only a part of the time: everything takes several times as long."""
        seconds = self.rng.uniform(2, 4)
        self.harm.servers.slow(what, seconds)
        return f"{seconds:.1f} s"

    def rescale_one(self, _):
        """One worker more, or one less by an ordered stop."""
        cluster = self.harm.cluster
        workers = [role for role in cluster.of("speed") if role.wanted]
        if len(workers) >= WORKERS_MAX or (len(workers) > 1 and self.rng.random() < 0.5):
            role = self.any_of("speed")
            if not role or len(workers) == 1:
                return NOTHING
            try:
                cluster.drop(role)
                code = role.term()
                if code != 0:
                    raise AssertionError(f"{role.name}: exit code {code} after SIGTERM")
                return f"{role.name} left"
            finally:
                role.busy.release()
        return f"{cluster.add('speed').name} joined"

    def zombie_one(self, _):
        """Stops a worker until others have its partitions, and wakes it."""
        cluster = self.harm.cluster
        role = self.any_of("speed")
        if not role:
            return NOTHING
        try:
            own = set(role.shards())
            if not own:
                return NOTHING
            role.pause()
            if not [one for one in cluster.of("speed") if one is not role and one.alive()]:
                cluster.add("speed")
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                others = {shard for one in cluster.of("speed") if one is not role for shard in one.shards()}
                if own <= others and others:
                    break
                time.sleep(0.1)
            time.sleep(self.rng.uniform(0, 1))
            moved = len(own & others)
            role.resume()
            return f"{role.name}, {moved} of {len(own)} partitions had moved"
        finally:
            role.resume()
            role.busy.release()

    def expire_one(self, _):
        """Deletes from the log what is in Bronze, as a retention that has run out would."""
        harm, targets = self.harm, []
        for (source, partition), status in harm.cluster.shards().items():
            topic = T.SOURCES[source]
            # Never what the check has not read itself.
            upto = min(status["bronze"], len(harm.truth.records[topic, partition]))
            if upto > 0:
                targets.append(TopicPartition(topic, partition, upto))
        if not targets:
            return NOTHING
        for place, deleted in harm.admin.delete_records(targets, request_timeout=20).items():
            try:
                deleted.result(25)
            except Exception as error:  # a broker that is away: not expired then
                harm.event(f"expire log {place}: {error}")
        return None

    def damage_one(self, _):
        """Cuts the newest checkpoint of a shard short."""
        lake = self.harm.lake
        try:
            paths = [path for path, _ in lake.list("checkpoints/") if path.endswith(".ckpt")]
            if not paths:
                return NOTHING
            folder = os.path.dirname(self.rng.choice(paths))
            path = max(path for path in paths if os.path.dirname(path) == folder)
            data = lake.get(path)
            if not data:
                return NOTHING
            lake.put(path, data[: len(data) // 2])
            return path
        except OSError as error:  # a store that is away
            self.harm.event(f"damage: {error}")
            return NOTHING

    def run_one(self, _):
        """A batch run that nobody waits for."""
        for role in self.harm.cluster.of("batch"):
            try:
                role.request("POST", "/v1/batch/runs", body=b"")
            except (OSError, ValueError):
                return NOTHING
        return None


def plan(run, rng, seconds):
    """Chooses, starts and returns the faults of an iteration. One worker is killed in every one; the others are those that
    have not been there yet, and after that drawn."""
    weights = {kind: weight for kind, weight in WEIGHTS.items() if not run.args.only or kind in run.args.only.split(",")}
    chosen = ["kill speed"] if "kill speed" in weights else []

    def fits(kind):
        slow = kind in SLOW and any(other in SLOW for other in chosen)
        return not slow and (kind not in chosen or (kind.startswith("kill ") and kind not in SLOW))

    # Slow ones first: there is room for one of them only.
    for kind in sorted(run.owed, key=lambda kind: kind not in SLOW):
        if kind in chosen:
            run.owed.remove(kind)
        elif len(chosen) < FAULTS_OWED and fits(kind):
            run.owed.remove(kind)
            chosen.append(kind)
    for _ in range(max(0, rng.randrange(4, 7) - len(chosen))):
        kind = rng.choices(list(weights), list(weights.values()))[0]
        if fits(kind):
            chosen.append(kind)
    found = []
    for kind in chosen:
        # What takes long begins early.
        at = rng.uniform(0, seconds * (0.3 if kind in SLOW else 0.9))
        found.append(Fault(run, kind, at, random.Random(rng.random())))
    run.last = ", ".join(sorted(chosen))
    for fault in found:
        fault.start()
    return found
