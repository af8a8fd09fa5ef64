#!/usr/bin/env bash
# Runs the tests, in lanes side by side: they wait for servers more than they compute. What a lane prints comes when it
# is done. Those of tools/apart.sh run with `make trust-check`.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apart.sh

# Once, and not in every lane at the same moment.
.venv/bin/python -m compileall -q -j 2 buf crown gateway services stack

outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
ingest=tests/integration/ingest
e2e=tests/e2e
realtime=tests/integration/realtime
pids=()
but=("${apart[@]/#/--deselect=}")

lane() { # folders and files…, and options behind --
  [[ " $* " == *" -- "* ]] || set -- "$@" --
  (
    began=$SECONDS status=0
    tools/test.sh "$@" "${but[@]}" || status=$?
    echo "test: this lane took $((SECONDS - began)) s"
    exit "$status"
  ) > "$outputs/${#pids[@]}" 2>&1 &
  pids+=($!)
  # Servers that start all at the same moment start late.
  sleep 2
}

# The longest first. With more lanes the machine is no sooner done, and time limits pass.
lane $ingest/test_[f-z]*.py
lane $realtime/test_[m-z]*.py
lane tests/unit
lane $ingest/test_[a-e]*.py
lane tests/integration -- --ignore=$realtime --ignore=$ingest
lane $e2e/test_[p-z]*.py
lane $realtime/test_[a-l]*.py
lane $e2e/test_[a-o]*.py
status=0
for number in "${!pids[@]}"; do
  wait "${pids[$number]}" || status=$?
  cat "$outputs/$number"
done
exit "$status"
