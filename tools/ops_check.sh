#!/usr/bin/env bash
# Checks what operators are given, with the tools that they use themselves. A step is a function; its name is in `steps`.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

steps=(promtool_is_here rules_are_valid alerts_fire_and_stay_quiet dashboards_are_valid metrics_are_named_well what_operators_use_works)
debian=$PWD/.cache/debian

# The promtool of Debian's package, which is not installed but unpacked.
promtool_is_here() {
  promtool=$(command -v promtool || true)
  [ -z "$promtool" ] || return 0
  promtool=$debian/usr/bin/promtool
  [ ! -x "$promtool" ] || return 0
  command -v apt-get > /dev/null || { echo "ops_check: promtool is needed; it comes with Prometheus" >&2; return 1; }
  mkdir -p "$debian"
  apt-cache show prometheus > /dev/null 2>&1 || apt-get update -qq > /dev/null
  (cd "$debian" && apt-get download -qq prometheus > /dev/null && dpkg -x prometheus_*.deb . && rm prometheus_*.deb)
}

rules_are_valid() {
  "$promtool" check rules --lint=all --lint-fatal monitoring/alerts.yaml
  "$promtool" check config monitoring/prometheus.yaml
}

alerts_fire_and_stay_quiet() {
  "$promtool" test rules monitoring/alerts_test.yaml
}

# promtool knows no dashboards: their expressions are shown to it as rules.
dashboards_are_valid() {
  python -m tools.expressions > .cache/dashboards.yaml
  "$promtool" check rules .cache/dashboards.yaml
}

# Every series of the table, as a process would serve it.
metrics_are_named_well() {
  python -c 'from crown import metrics; from prometheus_client import generate_latest as text; print(text().decode())' |
    "$promtool" check metrics
}

# The command, the console, traces, metrics as they are served, and the recipes with the real grpcurl, which is built here.
what_operators_use_works() {
  tools/go_tools.sh
  tools/test.sh tests/operations
}

mkdir -p .cache
# A step that fails ends the script while its output still goes to the file.
exec 3>&2
trap '[ $? = 0 ] || { cat .cache/ops_check.log; echo "ops_check: $step failed"; } >&3' EXIT
for step in "${steps[@]}"; do
  began=$SECONDS
  "$step" > .cache/ops_check.log 2>&1
  echo "ops_check: $step, $((SECONDS - began)) s"
done
