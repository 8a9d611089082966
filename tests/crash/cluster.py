"""The four servers and the roles of the platform, as processes that can be killed, stopped and started again."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error

from server import Api, free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ALL = os.path.join(ROOT, "infra", "services", "all.sh")
SERVERS = ("kafka", "cassandra", "minio", "clickhouse")

# Short times, so that failures are noticed within a round and durable steps are many. All are keys that a user may set.
TUNING = """
[log.properties]
"reconnect.backoff.max.ms" = "500"

[speed]
flush_interval = "100ms"
checkpoint_interval = "700ms"
retry_max = "1s"

[batch]
schedule = "*/7 * * * * *"
keep_versions = 5
grace = "20s"
"""


class Servers:
    """Kafka, Cassandra, MinIO and ClickHouse of one folder of infra/services/all.sh."""

    def __init__(self, folder, own):
        self.folder, self.own = folder, own
        self.busy = {name: threading.Lock() for name in SERVERS}

    def run(self, action, *names):
        result = subprocess.run(
            [ALL, action, self.folder, *names], capture_output=True, text=True, timeout=240, start_new_session=True,
        )
        if result.returncode:
            raise RuntimeError(f"all.sh {action} {' '.join(names)}: {result.stderr[-2000:]}")
        return result.stdout

    def environment(self):
        found = {}
        for line in self.run("env").splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            found[name] = value
        return found

    def pid(self, name):
        nested = os.path.join(self.folder, name, f"{name}.pid")
        with open(nested if os.path.exists(nested) else os.path.join(self.folder, f"{name}.pid")) as file:
            return int(file.read())

    def kill_and_start(self, name, down):
        """SIGKILL, and back after `down` seconds."""
        with self.busy[name]:
            self.run("kill", name)
            time.sleep(down)
            self.run("start", name)

    def pause(self, name, seconds):
        """SIGSTOP for a while: connections stay open and nothing answers."""
        with self.busy[name]:
            pid = self.pid(name)
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)

    def slow(self, name, seconds):
        """Runs a fifth of the time only: stopped for 80 ms, at work for 20 ms, and so on."""
        with self.busy[name]:
            pid, end = self.pid(name), time.monotonic() + seconds
            try:
                while time.monotonic() < end:
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(0.08)
                    os.kill(pid, signal.SIGCONT)
                    time.sleep(0.02)
            finally:
                os.kill(pid, signal.SIGCONT)


class Role(Api):
    """One process of the platform."""

    def __init__(self, cluster, kind, name):
        super().__init__(free_port(), timeout=20)
        self.cluster, self.kind, self.name = cluster, kind, name
        self.process, self.stopped, self.wanted = None, False, False
        self.busy = threading.Lock()

    def start(self):
        command = [
            self.cluster.binary, self.kind, "--config", self.cluster.config, "--pipelines", self.cluster.pipelines,
            "--listen", f"127.0.0.1:{self.port}",
        ]
        with open(os.path.join(self.cluster.logs, f"{self.name}.log"), "ab") as log:
            log.write(f"---- started {time.strftime('%H:%M:%S')}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.cluster.env, start_new_session=True,
            )
        self.stopped, self.wanted = False, True

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.wanted = False
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def listens_to(self, number):
        """Whether the process has installed a handler for the signal."""
        with open(f"/proc/{self.process.pid}/status") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> (number - 1) & 1)

    def term(self, seconds=40):
        """An ordered stop. Returns the exit code; None when it had to be killed."""
        self.wanted = False
        if not self.alive():
            return 0
        listened = self.listens_to(signal.SIGTERM)
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=seconds)
            # One that is still on its way to its servers has begun nothing that it could end in order.
            return 0 if code == -signal.SIGTERM and not listened else code
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def pause(self):
        self.stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        if self.stopped and self.alive():
            self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def shards(self):
        """{(source, partition): status} of a speed worker; empty when it does not answer."""
        if not self.alive() or self.stopped:
            return {}
        try:
            status = self.get("/v1/status")
        except (urllib.error.URLError, OSError, ValueError):
            return {}
        found = {}
        # One that is starting has no shards to tell of.
        for shard in (status.get("process") or {}).get("shards") or []:
            name = shard["shard"]
            source, partition = (name["source"], name["partition"]) if isinstance(name, dict) else name.rsplit("/", 1)
            found[source, int(partition)] = shard
        return found


class Cluster:
    """Servers and roles. Roles that end by themselves are started again, as a supervisor would, and counted."""

    def __init__(self, binary, servers, work, pipelines, prefix):
        self.binary, self.servers, self.pipelines = binary, servers, pipelines
        self.logs = os.path.join(work, "logs")
        os.makedirs(self.logs, exist_ok=True)
        self.env = {**os.environ, "RUST_LOG": os.environ.get("CRASH_LOG", "info"), "RUST_BACKTRACE": "1"}
        self.config = os.path.join(work, "tideline.toml")
        os.environ["TIDELINE_PREFIX"] = prefix
        with open(self.config, "w") as file:
            config = servers.run("config").replace("[log]\n", '[log]\nsession_timeout = "3s"\n', 1)
            file.write(config + TUNING)
        self.prefix = prefix
        self.roles, self.numbers, self.lock = {}, {}, threading.Lock()
        self.ended = []  # (role, exit code) of processes that ended by themselves

    def command(self, *arguments, timeout=120):
        """Runs a command of the program against the servers."""
        return subprocess.run(
            [self.binary, *arguments, "--config", self.config, "--pipelines", self.pipelines],
            capture_output=True, text=True, timeout=timeout, env={**self.env, "RUST_LOG": "warn"},
        )

    def add(self, kind):
        with self.lock:
            number = self.numbers[kind] = self.numbers.get(kind, 0) + 1
            role = self.roles[f"{kind}-{number}"] = Role(self, kind, f"{kind}-{number}")
        role.start()
        return role

    def of(self, kind):
        with self.lock:
            return [role for role in self.roles.values() if role.kind == kind]

    def drop(self, role):
        with self.lock:
            self.roles.pop(role.name, None)

    def supervise(self):
        """Starts what ended by itself."""
        with self.lock:
            roles = list(self.roles.values())
        for role in roles:
            if role.wanted and not role.alive() and role.busy.acquire(blocking=False):
                try:
                    if role.wanted and not role.alive():
                        self.ended.append((role.name, role.process.returncode))
                        role.start()
                finally:
                    role.busy.release()

    def heal(self):
        """Everything runs."""
        with self.lock:
            roles = list(self.roles.values())
        for role in roles:
            with role.busy:
                role.resume()
                if not role.alive():
                    role.start()

    def shards(self):
        """The most advanced status of each shard, over all workers, with the name of the worker."""
        best = {}
        for role in self.of("speed"):
            for shard, status in role.shards().items():
                if shard not in best or (status["flushed"], status["bronze"]) > (best[shard]["flushed"], best[shard]["bronze"]):
                    best[shard] = {**status, "worker": role.name}
        return best

    def stop(self):
        with self.lock:
            roles = list(self.roles.values())
        for role in roles:
            role.resume()
            role.kill()

    def states(self):
        """What every process says of itself, for the log of a failure."""
        found = {}
        with self.lock:
            roles = list(self.roles.values())
        for role in roles:
            try:
                found[role.name] = role.get("/v1/status") if role.alive() else "not running"
            except (urllib.error.URLError, OSError, ValueError) as error:
                found[role.name] = f"does not answer: {error}"
        return json.dumps(found, indent=1)
