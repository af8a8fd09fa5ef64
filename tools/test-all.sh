#!/usr/bin/env bash
# Runs every test, in two lanes side by side: they wait for servers more than they compute. What the second lane
# prints comes when the first is done.
set -euo pipefail
cd "$(dirname "$0")/.."

output=$(mktemp)
trap 'rm -f "$output"' EXIT
tools/test.sh tests/integration > "$output" 2>&1 &
second=$!
status=0
tools/test.sh tests/unit tests/e2e || status=$?
wait "$second" || status=$?
cat "$output"
exit "$status"
