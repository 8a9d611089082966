#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks. Quick when nothing is missing.
#
# Java (17) with mvn, and Go (1.24 or newer) are not installed: they only run Kafka, Cassandra and MinIO for the
# integration tests, which are skipped by name without them. See infra/services/README.md. Nor is Node.js, with which the page
# is built where there is one; the browser that its tests drive is installed by tests/web/run.sh.
set -euo pipefail

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v c++ >/dev/null || missing+=(g++)               # librdkafka's configure asks for it
command -v make >/dev/null || missing+=(make)
command -v cmake >/dev/null || missing+=(cmake)           # aws-lc, where its own build script does not fit
command -v curl >/dev/null || missing+=(curl ca-certificates)
command -v pkg-config >/dev/null || missing+=(pkg-config)
# librdkafka speaks TLS through the system's OpenSSL and compresses with its zlib.
pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
pkg-config --exists zlib 2>/dev/null || missing+=(zlib1g-dev)
command -v python3 >/dev/null || missing+=(python3)
# Without ensurepip `python3 -m venv` fails, and with it every test that brings its own packages.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv python3-pip)
if ((${#missing[@]})); then
  echo "installing: ${missing[*]}"
  as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -qy --no-install-recommends "${missing[@]}"
fi
if ! command -v cargo >/dev/null; then
  echo "Rust 1.95 or newer is needed: https://rustup.rs" >&2
  exit 1
fi
