#!/usr/bin/env bash
# The dashboards and the rules, against the program and a real Prometheus (Debian's package, unpacked and not installed:
# no service is started).
#   tests/prometheus/run.sh BINARY
set -uo pipefail
binary=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
cache="${TIDELINE_PROMETHEUS:-$HOME/.cache/tideline-prometheus}"
skip() { echo "SKIPPED prometheus: $1"; exit 0; }

python3 "$root/dashboards/grafana/make.py" --check || exit 1

if ! { command -v prometheus && command -v promtool; } >/dev/null; then
  if [ ! -x "$cache/usr/bin/promtool" ]; then
    { command -v apt-get && command -v dpkg-deb; } >/dev/null || skip "neither prometheus nor apt-get is there"
    new=$(mktemp -d)
    get() { (cd "$new" && timeout 300 apt-get download -q prometheus) >/dev/null 2>&1; }
    as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    get || { timeout 120 "${as_root[@]}" apt-get update -q >/dev/null 2>&1; get; } || { rm -rf "$new"; skip "the package prometheus cannot be had"; }
    mkdir -p "$cache"
    dpkg-deb -x "$new"/prometheus_*.deb "$cache"
    rm -rf "$new"
  fi
  export PATH="$cache/usr/bin:$PATH"
fi
promtool --version >/dev/null 2>&1 || skip "promtool does not run here"

failed=0
promtool check config "$root/infra/prometheus/prometheus.yml" || failed=1
# Debian's build does not know how to find pods: the rest of that file is checked.
without=$(mktemp -d)
trap 'rm -rf "$without"' EXIT
sed '/kubernetes_sd_configs:/,/namespaces:/d' "$root/infra/prometheus/kubernetes.yml" >"$without/kubernetes.yml"
ln -s "$root/infra/prometheus/rules" "$without/rules"
promtool check config "$without/kubernetes.yml" || failed=1
promtool check rules "$root"/infra/prometheus/rules/*.yml || failed=1
promtool test rules "$root"/infra/prometheus/tests/*.yml || failed=1
python3 "$root/tests/prometheus/check.py" "$binary" || failed=1
exit $failed
