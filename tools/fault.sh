#!/usr/bin/env bash
# Runs the fault tests but those of power, in two lanes side by side: one of a suite with a process of each role, one of
# suites with several. Options go to pytest: --one-by-one gives each fault a run of its own, without lanes.
set -euo pipefail
cd "$(dirname "$0")/.."

fault=tests/fault
[ $# -eq 0 ] || exec tools/test.sh $fault -- --ignore=$fault/power "$@"

output=$(mktemp)
trap 'rm -f "$output"' EXIT
tools/test.sh $fault/test_[a-e]*.py $fault/test_[q-z]*.py > "$output" 2>&1 &
other=$!
status=0
tools/test.sh $fault/test_[f-p]*.py || status=$?
wait $other || status=$?
cat "$output"
exit "$status"
