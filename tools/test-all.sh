#!/usr/bin/env bash
# Runs every test, in three lanes side by side: they wait for servers more than they compute. What the other lanes
# print comes when the first is done.
set -euo pipefail
cd "$(dirname "$0")/.."

outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
tools/test.sh tests/integration -- --ignore=tests/integration/realtime > "$outputs/1" 2>&1 &
integration=$!
tools/test.sh tests/integration/realtime > "$outputs/2" 2>&1 &
realtime=$!
status=0
tools/test.sh tests/unit tests/e2e || status=$?
wait "$integration" || status=$?
cat "$outputs/1"
wait "$realtime" || status=$?
cat "$outputs/2"
exit "$status"
