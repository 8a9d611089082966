"""A `tideline up` under test: started, asked, killed, started again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "infra", "services"))
from ports import free_ports  # noqa: E402


def free_port():
    return free_ports(1)[0]


class Api:
    """The HTTP interface of a process of the platform."""

    def __init__(self, port, timeout=120):
        self.port, self.timeout = port, timeout
        self.base = f"http://127.0.0.1:{port}"

    def request(self, method, path, body=None, headers=None):
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=headers or {})
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            return json.loads(answer.read())

    def get(self, path, **query):
        query = {k: v for k, v in query.items() if v is not None}
        return self.request("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def post_lines(self, topic, lines):
        return self.request("POST", f"/v1/topics/{topic}", body="\n".join(lines).encode())

    def rows(self, view, layer, **query):
        """All rows of a view, page by page, as {(key values…, window start text): columns}."""
        return self.rows_and_provenance(view, layer, **query)[0]

    def rows_and_provenance(self, view, layer, **query):
        """As `rows`, with the provenance of the last page."""
        found, cursor = {}, None
        while True:
            page = self.get(f"/v1/views/{view}/rows", layer=layer, limit=50000, cursor=cursor, **query)
            for row in page["rows"]:
                group = (*row["key"].values(), row["window_start"])
                if group in found:
                    raise SystemExit(f"{view}: {group} twice")
                found[group] = {k: v for k, v in row.items() if k not in ("key", "window_start", "window_end")}
            cursor = page.get("cursor")
            if not cursor:
                return found, page["provenance"]

    def batch(self):
        """Runs the batch layer and waits for it."""
        run = self.request("POST", "/v1/batch/runs", body=b"")
        while True:
            status = self.get(f"/v1/batch/runs/{run['id']}")
            if status["state"] in ("succeeded", "failed"):
                if status["state"] == "failed":
                    raise SystemExit(f"the batch run failed: {status}")
                return status
            time.sleep(0.1)


class Server(Api):
    def __init__(self, binary, data, pipelines, env=None):
        self.binary, self.data, self.pipelines = binary, data, pipelines
        super().__init__(free_port())
        self.env = {**os.environ, "TIDELINE_BATCH__SCHEDULE": "", "RUST_LOG": "warn", **(env or {})}
        self.process = None

    def start(self):
        command = [self.binary, "up", "--data", self.data, "--pipelines", self.pipelines, "--listen", f"127.0.0.1:{self.port}"]
        self.log = open(f"{self.data}.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=self.env)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"tideline up ended with {self.process.returncode}: see {self.data}.log")
            try:
                urllib.request.urlopen(f"{self.base}/readyz", timeout=2).read()
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise SystemExit("tideline up did not get ready in 60 s")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        if code != 0:
            raise SystemExit(f"tideline up ended with {code} after SIGTERM")
