"""The lake as the check reads it: by plain HTTP from MinIO, with nothing of the platform's."""

import io
import json
import re
import subprocess
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections import defaultdict

import polars as pl

SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
OPEN = {
    "Version": "2012-10-17",
    "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:*"],
        "Resource": ["arn:aws:s3:::tideline", "arn:aws:s3:::tideline/*"],
    }],
}


class Lake:
    def __init__(self, endpoint, prefix):
        self.bucket, self.prefix = f"{endpoint}/tideline", prefix
        # The bucket of this run's own server, open to everybody: spares the check a client that signs.
        subprocess.run(
            ["curl", "-sfS", "-X", "PUT", f"{self.bucket}?policy", "--user", "minioadmin:minioadmin",
             "--aws-sigv4", "aws:amz:us-east-1:s3", "--data", json.dumps(OPEN)],
            check=True, timeout=20,
        )

    def list(self, folder, after=None):
        """[(path, bytes)] under a folder, sorted; `after` is a path to begin behind."""
        found, token = [], None
        while True:
            query = {"list-type": "2", "prefix": f"{self.prefix}/{folder}"}
            if after:
                query["start-after"] = f"{self.prefix}/{after}"
            if token:
                query["continuation-token"] = token
            with urllib.request.urlopen(f"{self.bucket}?{urllib.parse.urlencode(query)}", timeout=20) as answer:
                root = ElementTree.fromstring(answer.read())
            for item in root.iter(f"{SPACE}Contents"):
                key = item.find(f"{SPACE}Key").text
                found.append((key[len(self.prefix) + 1 :], int(item.find(f"{SPACE}Size").text)))
            token = root.findtext(f"{SPACE}NextContinuationToken")
            if not token:
                return found

    def get(self, path):
        """Its bytes; None when it is not there (any more)."""
        try:
            with urllib.request.urlopen(f"{self.bucket}/{self.prefix}/{urllib.parse.quote(path)}", timeout=20) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def put(self, path, data):
        url = f"{self.bucket}/{self.prefix}/{urllib.parse.quote(path)}"
        urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT"), timeout=20).read()

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

    def dead_letters(self, source, partition):
        """{offset: [raw bytes]}, of all files."""
        found = defaultdict(list)
        for path, _ in self.list(f"dead-letters/{source}/{partition}/"):
            for line in (self.get(path) or b"").splitlines():
                letter = json.loads(line)
                raw = letter["raw"]
                found[letter["offset"]].append(raw["text"].encode() if "text" in raw else bytes.fromhex(raw["hex"]))
        return found
