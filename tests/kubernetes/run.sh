#!/usr/bin/env bash
# The Kubernetes manifests, as a cluster would take them in; see main.go. Needs Go.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
skip() { echo "SKIPPED kubernetes: $1"; exit 0; }

command -v go >/dev/null || skip "no Go"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$here" || exit 1
export GOTOOLCHAIN=local
if ! go build -o "$folder/kubernetes" . 2>"$folder/log"; then
  grep -q 'requires go >=' "$folder/log" && skip "a newer Go is needed: $(tail -1 "$folder/log")"
  # Modules that cannot be had are one thing, a program that does not compile another.
  grep -qE 'dial tcp|no such host|i/o timeout|connection re(fused|set)|proxyconnect|unexpected EOF|50[0-9] |module lookup disabled' "$folder/log" &&
    skip "the Go modules cannot be had: $(tail -1 "$folder/log")"
  cat "$folder/log" >&2
  exit 1
fi
"$folder/kubernetes" "$root" infra/kubernetes/base infra/kubernetes/overlays/development
