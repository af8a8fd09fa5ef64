#!/usr/bin/env bash
# The fault battery. `quick`: what happens most, in two lanes side by side, within four minutes. `all`: every fault in a
# run of its own; its figures are published, and docs/reliability.md is made anew. It has two lanes, each with a suite of
# its own, and then those that measure what the machine can do, alone. It fails where a fault gave no figures that has
# some in the last commit. Needs root, for file systems and networks of its own. Further options go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

fault=tests/fault
mode=$1
shift

# What one server or process does beside the suite under load: power, disk, streams that are full, poison, slow sockets.
beside=(
  "$fault/power/test_nats.py::test_what_was_accepted_survives_a_power_loss[1]"
  "$fault/power/test_broken_store.py::test_a_full_disk"
  tests/integration/ingest/test_intake_full.py
  "tests/integration/crown/test_poison.py::test_what_kills_its_workers_is_put_aside_and_the_others_go_on"
  "tests/integration/realtime/test_limits.py::test_those_who_do_not_read_cost_a_bounded_part_and_delay_nobody"
)

quick() {
  local output other status=0
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  { tools/test.sh "${beside[@]}" -- "$@" && mutants; } > "$output" 2>&1 &
  other=$!
  tools/test.sh $fault/test_quick.py -- --durations=10 "$@" || status=$?
  wait $other || status=$?
  cat "$output"
  exit "$status"
}

mutants() {
  [ ! -d tools/mutants ] || .venv/bin/python -m tools.mutants --quick
}

# Processes and clusters; all other files are the other lane, which takes about as long. Those that say what one channel
# feels of another, or what the machine can do, want it for themselves.
first=(kill replicas upgrade breaker clusters campaign)
alone=(providers mail_and_browsers pressure herd)

all() {
  local output other name status=0 files=() elsewhere=(--ignore=$fault/test_quick.py) last=()
  for name in "${first[@]}"; do files+=("$fault/test_$name.py"); done
  for name in "${alone[@]}"; do last+=("$fault/test_$name.py"); done
  for name in "${files[@]}" "${last[@]}"; do elsewhere+=("--ignore=$name"); done
  # Rows of faults that are no longer there would stay.
  rm -f docs/figures/faults.json
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  tools/test.sh $fault -- "${elsewhere[@]}" --one-by-one --publish --durations=0 "$@" > "$output" 2>&1 &
  other=$!
  tools/test.sh "${files[@]}" -- --one-by-one --publish --durations=0 "$@" || status=$?
  wait $other || status=$?
  cat "$output"
  tools/test.sh "${last[@]}" -- --one-by-one --publish --durations=0 "$@" || status=$?
  .venv/bin/python -m tests.fault.whole "$SECONDS" || status=$?
  .venv/bin/python -m tools.reliability_page
  exit "$status"
}

case $mode in
  quick) quick "$@" ;;
  all) all "$@" ;;
  *) echo "usage: tools/fault.sh quick|all" >&2; exit 2 ;;
esac
