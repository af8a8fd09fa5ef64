#!/usr/bin/env bash
# Runs every test, in lanes side by side: they wait for servers more than they compute. What the other lanes print
# comes when the first is done.
set -euo pipefail
cd "$(dirname "$0")/.."

outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
ingest=tests/integration/ingest
pids=()

lane() { # folders and files…
  tools/test.sh "$@" > "$outputs/${#pids[@]}" 2>&1 &
  pids+=($!)
}

lane $ingest/test_[a-e]*.py
lane $ingest/test_[f-z]*.py
lane tests/integration -- --ignore=tests/integration/realtime --ignore=$ingest
lane tests/integration/realtime
status=0
tools/test.sh tests/unit tests/e2e || status=$?
for number in "${!pids[@]}"; do
  wait "${pids[$number]}" || status=$?
  cat "$outputs/$number"
done
exit "$status"
