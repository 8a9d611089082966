#!/usr/bin/env bash
# docker-compose.yml follows the Compose specification (Debian's docker-compose knows its schema), starts nothing without
# passwords, and holds what tests/compose/check.py asks of it.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
skip() { echo "SKIPPED compose file: $1"; exit 0; }

if ! command -v docker-compose >/dev/null; then
  command -v apt-get >/dev/null || skip "no docker-compose, and no apt-get to install it"
  as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  { timeout 120 "${as_root[@]}" apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive timeout 300 "${as_root[@]}" apt-get install -qy --no-install-recommends docker-compose; } >/dev/null 2>&1 ||
    skip "the package docker-compose cannot be installed"
fi
# PyYAML comes with it, for the system's Python.
python=/usr/bin/python3
"$python" -c 'import yaml' 2>/dev/null || python=python3
"$python" -c 'import yaml' 2>/dev/null || skip "no PyYAML"

# A folder of its own: the .env of whoever runs this must not decide.
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
development="$root/infra/compose/development.env"
compose() { # ENV_FILE ARGS...
  local env_file=$1
  shift
  (cd "$empty" && env -i PATH="$PATH" HOME="$empty" docker-compose --project-directory "$root" --env-file "$env_file" "$@")
}
failed=0
fail() { echo "compose: $*" >&2; failed=1; }

compose "$development" -f "$root/docker-compose.yml" config -q || fail "docker-compose.yml is not valid"
compose "$development" -f "$root/docker-compose.yml" -f "$root/infra/compose/development.yml" config -q ||
  fail "infra/compose/development.yml is not valid"
compose "$development" -f "$root/docker-compose.yml" config >"$empty/resolved.yml" && "$python" "$root/tests/compose/check.py" "$root" <"$empty/resolved.yml" || failed=1

# Each required variable is really required: without it, and with it empty, nothing starts.
required=$(grep -o '\${[A-Z0-9_]*:?' "$root/docker-compose.yml" | tr -d '${:?' | sort -u)
[ "$(wc -w <<<"$required")" -ge 10 ] || fail "only these variables are required: $required"
for variable in $required; do
  grep -v "^$variable=" "$development" >"$empty/without.env"
  ! compose "$empty/without.env" -f "$root/docker-compose.yml" config -q 2>/dev/null || fail "starts without $variable"
  grep -q "^$variable=" "$root/.env.example" || fail ".env.example does not name $variable"
done
! compose "$root/.env.example" -f "$root/docker-compose.yml" config -q 2>/dev/null || fail "starts with .env.example as it is"
[ $failed = 0 ] && echo "compose: valid; $(grep -c . <<<"$required") required variables, none with a default"
exit $failed
