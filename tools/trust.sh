#!/usr/bin/env bash
# Who may do what, hostile input, and TLS between the parts: against the whole suite, and beside it what waits long.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apart.sh

output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
tools/test.sh "${apart[@]}" > "$output" 2>&1 &
other=$!
tools/test.sh tests/trust || status=$?
wait $other || status=$?
cat "$output"
exit "$status"
