#!/bin/sh
# skeleton.sh FROM TO: the workspace's manifests, lock and Cargo configuration, with empty sources where Cargo wants some.
# For infra/Dockerfile: what is built from it is built again only when one of these files changes.
set -eu
from=$1
to=$2
mkdir -p "$to"
cp "$from/Cargo.toml" "$from/Cargo.lock" "$to/"
if [ -d "$from/.cargo" ]; then cp -R "$from/.cargo" "$to/"; fi
(cd "$from" && find . -name target -prune -o -name Cargo.toml -print) | while read -r manifest; do
    folder="$to/$(dirname "$manifest")"
    mkdir -p "$folder/src"
    cp "$from/$manifest" "$folder/Cargo.toml"
    : >"$folder/src/lib.rs"
    # Targets that are named, or found by their place, must be there for the manifest to be accepted.
    for kind in src/main.rs src/bin benches examples tests; do
        if [ -e "$from/$(dirname "$manifest")/$kind" ]; then
            (cd "$from/$(dirname "$manifest")" && find "$kind" -maxdepth 2 -name '*.rs') | while read -r source; do
                mkdir -p "$folder/$(dirname "$source")"
                echo 'fn main() {}' >"$folder/$source"
            done
        fi
    done
    if [ -e "$from/$(dirname "$manifest")/build.rs" ]; then echo 'fn main() {}' >"$folder/build.rs"; fi
done
