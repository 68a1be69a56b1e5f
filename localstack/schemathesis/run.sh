#!/usr/bin/env bash
# Runs schemathesis against a node of its own with an empty store: what the node
# answers must be as its OpenAPI document says, and never a 5xx.
#
#   run.sh WADI SECONDS SEED
set -euo pipefail
wadi=$(realpath "$1") seconds=$2 seed=$3
here=$(cd "$(dirname "$0")" && pwd)
version=4.32.5
venv=${XDG_CACHE_HOME:-$HOME/.cache}/wadi/tools/schemathesis-$version
if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "schemathesis==$version"
fi

work=$(mktemp -d)
node=
finish() {
    if [ -n "$node" ]; then
        kill "$node" 2>/dev/null || true
        wait "$node" || true
    fi
    rm -rf "$work"
}
trap finish EXIT

"$wadi" dev --listen 127.0.0.1:0 --data-dir "$work/data" --log-format json >"$work/log" 2>&1 &
node=$!
url=
for _ in $(seq 100); do
    url=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$work/log" | head -1 || true)
    if [ -n "$url" ] && curl --silent --fail --output /dev/null "$url/readyz"; then
        break
    fi
    if ! kill -0 "$node" 2>/dev/null; then
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.1
done

cd "$work" # where it leaves its files
arguments=(--wait-for-schema 10 --max-time "$seconds" --request-timeout 40 --continue-on-failure)
if [ "$seed" != 0 ]; then
    arguments+=(--seed "$seed")
fi
PYTHONPATH=$here SCHEMATHESIS_HOOKS=hooks "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" \
    run "$url/openapi.yaml" "${arguments[@]}"
