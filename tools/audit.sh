#!/usr/bin/env bash
# Asks the advisory services about everything that is locked: pip-audit for Python, and for the examples npm, Go's and
# Rust's, where the machine has them. A package that nobody could be asked about is a failure too.
# ADVISORIES names a folder with copies of advisory databases, which are asked instead, without a network: see
# tools/advisories.py. GOVULNDB names another copy of Go's database, also as file:///…. What is known at least is checked
# by tools/floors.py, always.
set -uo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PWD/.cache/bin:$PATH

tools/check_packages.sh || exit 1
failed=0
part() {
  echo "audit: $1"
  shift
  "$@" || failed=1
}

if [ -n "${ADVISORIES:-}" ]; then
  exec python -m tools.advisories "$ADVISORIES"
fi

locks=()
for lock in requirements/*.txt examples/python/requirements.txt; do locks+=(-r "$lock"); done
part "Python" pip-audit --strict --disable-pip --require-hashes --progress-spinner=off "${locks[@]}"
if command -v npm > /dev/null; then
  part "Node" npm --prefix examples/node audit --package-lock-only
else
  echo "audit: there is no npm; examples/node was not looked at"
fi
if command -v go > /dev/null; then
  tools/go_tools.sh || exit 1
  # What is built is looked at, so that the standard library of the machine's Go counts too.
  database=(${GOVULNDB:+-db "$GOVULNDB"})
  for program in .cache/bin/grpcurl .cache/bin/kustomize .cache/go/feed; do
    [ ! -x "$program" ] || part "Go, $program" govulncheck "${database[@]}" -mode=binary "$program"
  done
else
  echo "audit: there is no Go; what is written in it was not looked at"
fi
if command -v cargo-audit > /dev/null; then
  part "Rust" cargo-audit audit --file examples/rust/Cargo.lock
else
  echo "audit: there is no cargo-audit; examples/rust was not looked at"
fi
exit "$failed"
