#!/bin/bash
# Gives Scylla (or Cassandra) the platform's user, and takes the right to log in from the user that it comes with.
# Repeatable: does nothing when that has been done.
set -euo pipefail
host="${SCYLLA_HOST:-scylla}"
port="${SCYLLA_PORT:-9042}"
quoted() { printf "'%s'" "${1//\'/\'\'}"; }
as() { cqlsh "$host" "$port" -u "$1" -p "$2" --connect-timeout=20 -e "$3"; }

if ! as "$VIEWS_USER" "$VIEWS_PASSWORD" "SELECT now() FROM system.local" >/dev/null 2>&1; then
    # The first user is made a little after the node is up.
    for try in $(seq 30); do
        if as cassandra cassandra "CREATE ROLE IF NOT EXISTS \"$VIEWS_USER\" WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = $(quoted "$VIEWS_PASSWORD")"; then break; fi
        [ "$try" -lt 30 ] || { echo "the user that Scylla comes with cannot log in" >&2; exit 1; }
        sleep 2
    done
fi
as "$VIEWS_USER" "$VIEWS_PASSWORD" "ALTER ROLE cassandra WITH SUPERUSER = false AND LOGIN = false"
echo "user $VIEWS_USER is there"
