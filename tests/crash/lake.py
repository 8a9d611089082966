"""The lake as the check reads it: by plain HTTP from MinIO, with nothing of the platform's."""

import hashlib
import hmac
import io
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections import defaultdict

import polars as pl

SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def signature(key, *parts):
    for part in parts:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


class Lake:
    def __init__(self, endpoint, prefix, user="minioadmin", password="minioadmin"):
        self.endpoint, self.prefix, self.user, self.password = endpoint, prefix, user, password

    def request(self, method, path, query=(), body=b""):
        """A request that is signed as S3 wants it (version 4)."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        host, digest = self.endpoint.split("//")[1], hashlib.sha256(body).hexdigest()
        path = urllib.parse.quote(f"/tideline{path}", safe="/-_.~")
        query = urllib.parse.urlencode(sorted(query), quote_via=urllib.parse.quote, safe="-_.~")
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        canonical = "\n".join([method, path, query, *(f"{k}:{v}" for k, v in headers.items()), "", names, digest])
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signed = signature(f"AWS4{self.password}".encode(), *scope.split("/"), text).hex()
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={self.user}/{scope}, SignedHeaders={names}, Signature={signed}"
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        request = urllib.request.Request(url, data=body or None, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def list(self, folder, after=None):
        """[(path, bytes)] under a folder, sorted; `after` is a path to begin behind."""
        found, token = [], None
        while True:
            query = {"list-type": "2", "prefix": f"{self.prefix}/{folder}"}
            if after:
                query["start-after"] = f"{self.prefix}/{after}"
            if token:
                query["continuation-token"] = token
            root = ElementTree.fromstring(self.request("GET", "", query.items()))
            for item in root.iter(f"{SPACE}Contents"):
                key = item.find(f"{SPACE}Key").text
                found.append((key[len(self.prefix) + 1 :], int(item.find(f"{SPACE}Size").text)))
            token = root.findtext(f"{SPACE}NextContinuationToken")
            if not token:
                return found

    def get(self, path):
        """Its bytes; None when it is not there (any more)."""
        try:
            return self.request("GET", f"/{self.prefix}/{path}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def put(self, path, data):
        self.request("PUT", f"/{self.prefix}/{path}", body=data)

    def frame(self, path, columns=None):
        data = self.get(path)
        return None if data is None else pl.read_parquet(io.BytesIO(data), columns=columns)

    def chain(self, source, partition):
        """[(first, next or None, path)] of Bronze."""
        found = []
        for path, _ in self.list(f"bronze/{source}/{partition}/"):
            name = re.fullmatch(r"(\d+)(?:-(\d+))?\.parquet", path.rsplit("/", 1)[1])
            if name:
                found.append((int(name[1]), int(name[2]) if name[2] else None, path))
        return sorted(found, key=lambda file: (file[0], -(file[1] or 0)))

    def manifest(self):
        """The newest one."""
        paths = self.list("gold/_manifests/")
        return json.loads(self.get(paths[-1][0])) if paths else None

    def dead_letters(self, source, partition, known):
        """{offset: [raw bytes]}, of all files. `known` holds what has been read: path → [(offset, raw bytes)]."""
        found = defaultdict(list)
        for path, _ in self.list(f"dead-letters/{source}/{partition}/"):
            if path not in known:
                known[path] = [letter_of(line) for line in (self.get(path) or b"").splitlines()]
            for offset, raw in known[path]:
                found[offset].append(raw)
        return found


def letter_of(line):
    letter = json.loads(line)
    raw = letter["raw"]
    return letter["offset"], raw["text"].encode() if "text" in raw else bytes.fromhex(raw["hex"])
